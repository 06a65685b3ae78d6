"""Targets that are narrower than they are declared.

breaks: declaration
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class WideTargets(TinyTargets):
    """Half of each vector."""

    def build(self, network):
        return WideModule(self, network)


class WideModule(TinyTargetsModule):
    def forward(self, batch, passes, network):
        half = self.width // 2
        targets = super().forward(batch, passes, network)
        return tuple(attrs.evolve(target, values=target.values[..., :half]) for target in targets)


@hookimpl
def didact_target_builders():
    return {"it": WideTargets}


def examples(folder):
    return {"it": [Example(spec=WideTargets())]}


@hookimpl
def didact_examples():
    return examples
