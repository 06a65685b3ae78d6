"""An encoder that writes its vectors into zeros of float32, which half precision refuses.

breaks: precision
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class ScatteringEncoder(TinyEncoder):
    """Columns."""

    def build(self, signal):
        return Module(signal.axes[0], self.width, self.class_token)


class Module(TinyEncoderModule):
    def embed(self, view):
        tokens = super().embed(view)
        order = torch.arange(tokens.features.shape[1] - 1, -1, -1, device=tokens.features.device)
        features = torch.zeros(tokens.features.shape, device=tokens.features.device)
        features.index_copy_(1, order, tokens.features.flip(1))
        return attrs.evolve(tokens, features=features)


@hookimpl
def didact_feature_encoders():
    return {"it": ScatteringEncoder}


def examples(folder):
    return {"it": [Example(spec=ScatteringEncoder())]}


@hookimpl
def didact_examples():
    return examples
