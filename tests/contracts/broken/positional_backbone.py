"""A backbone that adds position codes to the encoder's vectors in place.

breaks: inputs
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class PositionalBackbone(TinyBackbone):
    """Position codes that grow along the row."""

    def build(self, width, layout):
        return PositionalModule(width, self.depth)


class PositionalModule(TinyBackboneModule):
    def forward(self, tokens, hidden_states=()):
        with torch.no_grad():
            tokens.features.add_(0.01)
        return super().forward(tokens, hidden_states)


@hookimpl
def didact_backbones():
    return {"it": PositionalBackbone}


def examples(folder):
    return {"it": [Example(spec=PositionalBackbone())]}


@hookimpl
def didact_examples():
    return examples
