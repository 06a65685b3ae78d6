"""An encoder that numbers positions after some were dropped.

breaks: rows
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact.placing import corrupt, drop, repeat
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class RenumberingEncoder(TinyEncoder):
    """Columns."""

    def build(self, signal):
        return Module(signal.axes[0], self.width, self.class_token)


class Module(TinyEncoderModule):
    def place(self, tokens, mask):
        features = corrupt(tokens.features, mask, self.mask_embedding, padding=tokens.padding)
        tokens = drop(attrs.evolve(tokens, features=features, padding=repeat(tokens.padding, mask)), mask)
        codes = torch.arange(tokens.features.shape[1], device=features.device)[:, None] / 32 - 1
        return attrs.evolve(tokens, features=tokens.features + codes)


@hookimpl
def didact_feature_encoders():
    return {"it": RenumberingEncoder}


def examples(folder):
    return {"it": [Example(spec=RenumberingEncoder())]}


@hookimpl
def didact_examples():
    return examples
