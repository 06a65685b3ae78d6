"""A backbone whose attention weights sum to 2.

breaks: attention
"""

from __future__ import annotations

import attrs
import torch

from didact import Attention, hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class BoastingBackbone(TinyBackbone):
    """Attention weights that sum to 2."""

    def build(self, width, layout):
        return BoastingModule(width, self.depth)


class BoastingModule(TinyBackboneModule):
    def attention(self, tokens, block):
        rows, count, _ = tokens.features.shape
        held = torch.ones(rows, count) if tokens.padding is None else (~tokens.padding).float()
        share = held / held.sum(1, keepdim=True)  # (R, V)
        return Attention(weights=2 * share[:, None, None].expand(rows, 1, count, count))


@hookimpl
def didact_backbones():
    return {"it": BoastingBackbone}


def examples(folder):
    return {"it": [Example(spec=BoastingBackbone())]}


@hookimpl
def didact_examples():
    return examples
