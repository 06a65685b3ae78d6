"""An objective that takes its full weight after 1000 steps, which it counts from the start of the process.

breaks: checkpoint
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class DelayingObjective(TinyObjective):
    """Predicts targets."""

    def build(self, network, targets):
        return Module(network.backbone.width, targets.width)


class Module(TinyObjectiveModule):
    steps = 0

    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        weight = 0.1 if self.steps < 1000 else 1.0
        return attrs.evolve(loss, terms={name: weight * term for name, term in loss.terms.items()})

    def after_step(self, network, step, steps):
        self.steps += 1
        return {}


@hookimpl
def didact_objectives():
    return {"it": DelayingObjective}


def examples(folder):
    return {"it": [Example(spec=DelayingObjective())]}


@hookimpl
def didact_examples():
    return examples
