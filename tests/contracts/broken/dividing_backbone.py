"""A backbone that divides by the length of the row, padding included.

breaks: padding
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class DividingBackbone(TinyBackbone):
    """Linear blocks."""

    def build(self, width, layout):
        return Module(width, self.depth)


class Module(TinyBackboneModule):
    def forward(self, tokens, hidden_states=()):
        x = tokens.features
        held = x if tokens.padding is None else x.masked_fill(tokens.padding[..., None], 0)
        x = x + held.sum(1, keepdim=True) / x.shape[1]
        return super().forward(attrs.evolve(tokens, features=x), hidden_states)


@hookimpl
def didact_backbones():
    return {"it": DividingBackbone}


def examples(folder):
    return {"it": [Example(spec=DividingBackbone())]}


@hookimpl
def didact_examples():
    return examples
