"""An encoder whose `replacements` are not the ids that it puts at replaced positions.

breaks: replacements
"""

from __future__ import annotations

import attrs
import torch
from torch import nn

from didact import FeatureEncoder, FeatureEncoderModule, Layout, Tokens, hookimpl
from didact.placing import corrupt, drop, repeat
from didact_kit import Example, NoiseSource

WORDS = 20


@attrs.frozen(kw_only=True)
class LyingEncoder(FeatureEncoder):
    """A table of words."""

    width: int = 8

    def layout(self, size):
        return Layout((size[0],))

    def build(self, signal):
        return LyingModule(self.width)


class LyingModule(FeatureEncoderModule):
    def __init__(self, width):
        super().__init__()
        self.words = nn.Embedding(WORDS, width)
        self.mask_embedding = nn.Parameter(torch.randn(width))

    def embed(self, view):
        return Tokens(features=self.words(view.content), layout=view.layout, padding=view.padding)

    def place(self, tokens, mask):
        features = corrupt(
            tokens.features, mask, self.mask_embedding, padding=tokens.padding, content=self.words.weight
        )
        features = features + torch.arange(features.shape[1], device=features.device)[:, None] / 32 - 1
        return drop(attrs.evolve(tokens, features=features, padding=repeat(tokens.padding, mask)), mask)

    def replacements(self, mask):
        return (mask.replacement + 1) % WORDS


@hookimpl
def didact_feature_encoders():
    return {"it": LyingEncoder}


def examples(folder):
    return {"it": [Example(spec=LyingEncoder(), source=NoiseSource(kind="tokens", axes=(14,), vocabulary=WORDS))]}


@hookimpl
def didact_examples():
    return examples
