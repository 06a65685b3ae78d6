"""Targets that are ids, and are declared as vectors.

breaks: declaration
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class MistakenTargets(TinyTargets):
    """The largest entry of each vector."""

    def build(self, network):
        return MistakenModule(self, network)


class MistakenModule(TinyTargetsModule):
    def forward(self, batch, passes, network):
        return tuple(attrs.evolve(one, values=one.values.argmax(-1)) for one in super().forward(batch, passes, network))


@hookimpl
def didact_target_builders():
    return {"it": MistakenTargets}


def examples(folder):
    return {"it": [Example(spec=MistakenTargets())]}


@hookimpl
def didact_examples():
    return examples
