"""A backbone that compares every row with every other.

breaks: cost
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class QuadraticBackbone(TinyBackbone):
    """Computes the similarity of its rows and discards it."""

    def build(self, width, layout):
        return QuadraticModule(width, self.depth)


class QuadraticModule(TinyBackboneModule):
    def forward(self, tokens, hidden_states=()):
        rows = tokens.features.detach().mean(1)  # (R, D)
        rows @ rows.T  # (R, R)
        return super().forward(tokens, hidden_states)


@hookimpl
def didact_backbones():
    return {"it": QuadraticBackbone}


def examples(folder):
    return {"it": [Example(spec=QuadraticBackbone())]}


@hookimpl
def didact_examples():
    return examples
