"""An objective that logs a number of hits, not their share.

breaks: scalars
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class ScoringObjective(TinyObjective):
    """Predicts targets."""

    def build(self, network, targets):
        return Module(network.backbone.width, targets.width)


class Module(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        hits = (loss.predictions.argmax(1) == loss.targets.argmax(1)).float().sum()
        return attrs.evolve(loss, scalars={"predict/hits": hits})


@hookimpl
def didact_objectives():
    return {"it": ScoringObjective}


def examples(folder):
    return {"it": [Example(spec=ScoringObjective())]}


@hookimpl
def didact_examples():
    return examples
