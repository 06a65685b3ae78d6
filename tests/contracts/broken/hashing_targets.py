"""Targets that are scaled by Python's hash of a word.

breaks: determinism
also: processes
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class HashingTargets(TinyTargets):
    """Scaled."""

    def build(self, network):
        return HashingModule(self, network)


class HashingModule(TinyTargetsModule):
    def forward(self, batch, passes, network):
        scale = 1 + hash("targets") % 1000 / 1000
        return tuple(attrs.evolve(one, values=one.values * scale) for one in super().forward(batch, passes, network))


@hookimpl
def didact_target_builders():
    return {"it": HashingTargets}


def examples(folder):
    return {"it": [Example(spec=HashingTargets())]}


@hookimpl
def didact_examples():
    return examples
