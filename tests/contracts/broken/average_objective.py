"""An objective that averages where it should sum.

breaks: split
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class AverageObjective(TinyObjective):
    """A mean over this part of the batch."""

    def build(self, network, targets):
        return AverageModule(network.backbone.width, targets.width)


class AverageModule(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        samples = passes[0].view.content.shape[0]
        return attrs.evolve(loss, terms={name: 4 * term / samples for name, term in loss.terms.items()})


@hookimpl
def didact_objectives():
    return {"it": AverageObjective}


def examples(folder):
    return {"it": [Example(spec=AverageObjective())]}


@hookimpl
def didact_examples():
    return examples
