"""An objective that keeps the step in an attribute, which a resumed run lacks.

breaks: checkpoint
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class WarmingObjective(TinyObjective):
    """Predicts targets."""

    def build(self, network, targets):
        return Module(network.backbone.width, targets.width)


class Module(TinyObjectiveModule):
    step = 0

    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        weight = 0.1 if self.step < 1000 else 1.0
        return attrs.evolve(loss, terms={name: weight * term for name, term in loss.terms.items()})

    def after_step(self, network, step, steps):
        self.step = step
        return {}


@hookimpl
def didact_objectives():
    return {"it": WarmingObjective}


def examples(folder):
    return {"it": [Example(spec=WarmingObjective())]}


@hookimpl
def didact_examples():
    return examples
