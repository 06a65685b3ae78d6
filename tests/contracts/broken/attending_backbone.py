"""A backbone that attends to padding.

breaks: padding
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class AttendingBackbone(TinyBackbone):
    """Ignores padding."""

    def build(self, width, layout):
        return AttendingModule(width, self.depth)


class AttendingModule(TinyBackboneModule):
    def forward(self, tokens, hidden_states=()):
        result = super().forward(attrs.evolve(tokens, padding=None), hidden_states)
        return attrs.evolve(result, tokens=tokens)


@hookimpl
def didact_backbones():
    return {"it": AttendingBackbone}


def examples(folder):
    return {"it": [Example(spec=AttendingBackbone())]}


@hookimpl
def didact_examples():
    return examples
