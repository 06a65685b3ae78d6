"""An objective that scales its loss after every second update.

breaks: checkpoint
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class SecondObjective(TinyObjective):
    """Counts updates outside of its state."""

    def build(self, network, targets):
        return SecondModule(network.backbone.width, targets.width)


class SecondModule(TinyObjectiveModule):
    updates = 0

    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        return attrs.evolve(loss, terms={name: term * (1 + self.updates % 2) for name, term in loss.terms.items()})

    def after_step(self, network, step, steps):
        self.updates += 1
        return {}


@hookimpl
def didact_objectives():
    return {"it": SecondObjective}


def examples(folder):
    return {"it": [Example(spec=SecondObjective())]}


@hookimpl
def didact_examples():
    return examples
