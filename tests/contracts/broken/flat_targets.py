"""Targets per sample that are declared as targets per position.

breaks: declaration
"""

from __future__ import annotations

import attrs

from didact import Target, hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class FlatTargets(TinyTargets):
    """The mean over positions."""

    def build(self, network):
        return FlatModule(self, network)


class FlatModule(TinyTargetsModule):
    def __init__(self, spec, network):
        super().__init__(spec, network)
        self.level = "position"

    def forward(self, batch, passes, network):
        targets = super().forward(batch, passes, network)
        return tuple(Target(view=one.view, values=one.values[:, 0], level="sample") for one in targets)


@hookimpl
def didact_target_builders():
    return {"it": FlatTargets}


def examples(folder):
    return {"it": [Example(spec=FlatTargets())]}


@hookimpl
def didact_examples():
    return examples
