"""An objective that uses labels where there are some.

breaks: fields
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class GlancingObjective(TinyObjective):
    """Looks for labels."""

    def build(self, network, targets):
        return GlancingModule(network.backbone.width, targets.width)


class GlancingModule(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        label = batch.fields.get("label")
        if label is None:
            return loss
        return attrs.evolve(loss, terms={name: 2 * term for name, term in loss.terms.items()})


@hookimpl
def didact_objectives():
    return {"it": GlancingObjective}


def examples(folder):
    return {"it": [Example(spec=GlancingObjective())]}


@hookimpl
def didact_examples():
    return examples
