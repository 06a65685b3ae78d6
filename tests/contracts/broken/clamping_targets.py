"""Targets that clamp the student's tokens in place.

breaks: inputs
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class ClampingTargets(TinyTargets):
    """Limits what it reads."""

    def build(self, network):
        return ClampingModule(self, network)


class ClampingModule(TinyTargetsModule):
    def forward(self, batch, passes, network):
        for one in passes:
            one.tokens.features.detach().clamp_(-0.1, 0.1)
        return super().forward(batch, passes, network)


@hookimpl
def didact_target_builders():
    return {"it": ClampingTargets}


def examples(folder):
    return {"it": [Example(spec=ClampingTargets())]}


@hookimpl
def didact_examples():
    return examples
