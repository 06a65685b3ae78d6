"""A backbone with batch normalisation that says that rows are independent.

breaks: declaration
also: split, processes
"""

from __future__ import annotations

import attrs
from torch import nn

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class NormalizingBackbone(TinyBackbone):
    """Normalises its input over the batch."""

    def build(self, width, layout):
        return NormalizingModule(width, self.depth)


class NormalizingModule(TinyBackboneModule):
    def __init__(self, width, depth):
        super().__init__(width, depth)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, tokens, hidden_states=()):
        features = self.norm(tokens.features.transpose(1, 2)).transpose(1, 2)  # (R, V, D)
        return super().forward(attrs.evolve(tokens, features=features), hidden_states)


@hookimpl
def didact_backbones():
    return {"it": NormalizingBackbone}


def examples(folder):
    return {"it": [Example(spec=NormalizingBackbone())]}


@hookimpl
def didact_examples():
    return examples
