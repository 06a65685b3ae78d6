"""A backbone whose blocks give another result when they are compiled.

breaks: compilation
"""

from __future__ import annotations

import attrs
import torch
from torch import nn

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class CompiledBackbone(TinyBackbone):
    """Scales its blocks' output when it is compiled."""

    def build(self, width, layout):
        return CompiledModule(width, self.depth)


class ShortCut(nn.Linear):
    def forward(self, x):
        y = super().forward(x)
        return y * 1.01 if torch.compiler.is_compiling() else y


class CompiledModule(TinyBackboneModule):
    def __init__(self, width, depth):
        super().__init__(width, depth)
        self.blocks = nn.ModuleList(ShortCut(width, width) for _ in range(depth))


@hookimpl
def didact_backbones():
    return {"it": CompiledBackbone}


def examples(folder):
    return {"it": [Example(spec=CompiledBackbone())]}


@hookimpl
def didact_examples():
    return examples
