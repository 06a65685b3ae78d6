"""A backbone whose blocks do something else where they are compiled.

breaks: compilation
"""

from __future__ import annotations

import attrs
import torch
from torch import nn

from didact import hookimpl
from didact.testing import Example, TinyBackbone
from didact.testing.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class CompiledBackbone(TinyBackbone):
    """Takes a short cut where it is compiled."""

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


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=CompiledBackbone())]}
