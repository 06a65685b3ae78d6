"""Targets that are zero in every fifth batch.

breaks: steps
also: skipped, checkpoint
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class FifthTargets(TinyTargets):
    """Counts batches outside of its state."""

    def build(self, network):
        return FifthModule(self, network)


class FifthModule(TinyTargetsModule):
    batches = 0

    def forward(self, batch, passes, network):
        targets = super().forward(batch, passes, network)
        if not self.training:
            return targets
        self.batches += 1
        return tuple(attrs.evolve(target, values=target.values * (self.batches % 5 > 0)) for target in targets)


@hookimpl
def didact_target_builders():
    return {"it": FifthTargets}


def examples(folder):
    return {"it": [Example(spec=FifthTargets())]}


@hookimpl
def didact_examples():
    return examples
