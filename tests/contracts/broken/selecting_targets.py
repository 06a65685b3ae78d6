"""Targets that select real positions, whose number the host does not know.

breaks: waits
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class SelectingTargets(TinyTargets):
    """Centres targets by real positions."""

    def build(self, network):
        return SelectingModule(self, network)


class SelectingModule(TinyTargetsModule):
    def forward(self, batch, passes, network):
        targets = super().forward(batch, passes, network)
        for one, target in zip(passes, targets, strict=True):
            if one.view.padding is not None:
                target.values[~one.view.padding].mean(0)
        return targets


@hookimpl
def didact_target_builders():
    return {"it": SelectingTargets}


def examples(folder):
    return {"it": [Example(spec=SelectingTargets())]}


@hookimpl
def didact_examples():
    return examples
