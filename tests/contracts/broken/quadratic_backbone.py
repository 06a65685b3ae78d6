"""A backbone that compares every row with every other, to no purpose.

breaks: cost
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact.testing import Example, TinyBackbone
from didact.testing.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class QuadraticBackbone(TinyBackbone):
    """Measures how alike its rows are, and does nothing with it."""

    def build(self, width, layout):
        return QuadraticModule(width, self.depth)


class QuadraticModule(TinyBackboneModule):
    def forward(self, tokens, collect=None):
        rows = tokens.features.detach().mean(1)  # (R, D)
        rows @ rows.T  # (R, R)
        return super().forward(tokens, collect)


@hookimpl
def didact_backbones():
    return {"it": QuadraticBackbone}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=QuadraticBackbone())]}
