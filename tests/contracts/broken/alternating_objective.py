"""An objective that doubles its loss in every second batch.

breaks: steps
also: skipped, checkpoint
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class AlternatingObjective(TinyObjective):
    """Counts batches outside of its state."""

    def build(self, network, targets):
        return AlternatingModule(network.backbone.width, targets.width)


class AlternatingModule(TinyObjectiveModule):
    batches = 0

    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        if not self.training:
            return loss
        self.batches += 1
        return attrs.evolve(loss, terms={name: term * (1 + self.batches % 2) for name, term in loss.terms.items()})


@hookimpl
def didact_objectives():
    return {"it": AlternatingObjective}


def examples(folder):
    return {"it": [Example(spec=AlternatingObjective())]}


@hookimpl
def didact_examples():
    return examples
