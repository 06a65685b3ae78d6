"""A backbone that counts what it attends to twice.

breaks: attention
"""

from __future__ import annotations

import attrs
import torch

from didact import Attention, hookimpl
from didact.testing import Example, TinyBackbone
from didact.testing.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class BoastingBackbone(TinyBackbone):
    """Says that it reads everything equally, with both eyes."""

    def build(self, width, layout):
        return BoastingModule(width, self.depth)


class BoastingModule(TinyBackboneModule):
    def attention(self, tokens, block):
        rows, count, _ = tokens.features.shape
        held = torch.ones(rows, count) if tokens.padding is None else (~tokens.padding).float()
        shares = held / held.sum(1, keepdim=True)  # (R, V)
        return Attention(weights=2 * shares[:, None, None].expand(rows, 1, count, count))


@hookimpl
def didact_backbones():
    return {"it": BoastingBackbone}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=BoastingBackbone())]}
