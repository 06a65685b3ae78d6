"""A backbone that attends to padding.

breaks: padding
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact.testing import Example, TinyBackbone
from didact.testing.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class AttendingBackbone(TinyBackbone):
    """Takes every vector for data."""

    def build(self, width, layout):
        return AttendingModule(width, self.depth)


class AttendingModule(TinyBackboneModule):
    def forward(self, tokens, collect=None):
        context = super().forward(attrs.evolve(tokens, padding=None), collect)
        return attrs.evolve(context, tokens=tokens)


@hookimpl
def didact_backbones():
    return {"it": AttendingBackbone}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=AttendingBackbone())]}
