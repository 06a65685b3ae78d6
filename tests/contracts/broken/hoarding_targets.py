"""A target builder that collects batches in a list until the step is over, which it is not where it is left out.

breaks: skipped
also: steps
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class HoardingTargets(TinyTargets):
    """Targets that are scaled by how many batches were seen since the last update."""

    def build(self, network):
        return HoardingModule(self, network)


class HoardingModule(TinyTargetsModule):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.seen = []

    def forward(self, batch, passes, network):
        targets = super().forward(batch, passes, network)
        if not self.training:
            return targets
        self.seen.append(len(passes))
        return tuple(attrs.evolve(target, values=target.values * len(self.seen)) for target in targets)

    def after_step(self, network, step, steps):
        self.seen.clear()
        return super().after_step(network, step, steps)


@hookimpl
def didact_target_builders():
    return {"it": HoardingTargets}


def examples(folder):
    return {"it": [Example(spec=HoardingTargets())]}


@hookimpl
def didact_examples():
    return examples
