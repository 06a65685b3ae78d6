"""An encoder whose list of position parts lacks one.

breaks: declaration
"""

from __future__ import annotations

import attrs
import torch
from torch import nn

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class ForgettingEncoder(TinyEncoder):
    """Scales positions by a weight that a teacher would not average."""

    def build(self, signal):
        return ForgettingModule(signal.axes[0], self.width, self.class_token)


class ForgettingModule(TinyEncoderModule):
    position_parts = ("projection",)

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.scale = nn.Parameter(torch.ones(()))

    def place(self, tokens, mask):
        placed = super().place(tokens, mask)
        return attrs.evolve(placed, features=placed.features * self.scale)


@hookimpl
def didact_feature_encoders():
    return {"it": ForgettingEncoder}


def examples(folder):
    return {"it": [Example(spec=ForgettingEncoder())]}


@hookimpl
def didact_examples():
    return examples
