"""A backbone that numbers vectors by their place in the row, whatever was dropped before them.

breaks: declaration
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class CountingBackbone(TinyBackbone):
    """Position codes."""

    def build(self, width, layout):
        return CountingModule(width, self.depth)


class CountingModule(TinyBackboneModule):
    def forward(self, tokens, hidden_states=()):
        places = torch.arange(tokens.features.shape[1], device=tokens.features.device)[:, None] / 10  # (V, 1)
        return super().forward(attrs.evolve(tokens, features=tokens.features + places), hidden_states)


@hookimpl
def didact_backbones():
    return {"it": CountingBackbone}


def examples(folder):
    return {"it": [Example(spec=CountingBackbone())]}


@hookimpl
def didact_examples():
    return examples
