"""An encoder that creates a tensor on the CPU.

breaks: device
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class HomeboundEncoder(TinyEncoder):
    """Adds a ramp over the channels."""

    def build(self, signal):
        return HomeboundModule(signal.axes[0], self.width, self.class_token)


class HomeboundModule(TinyEncoderModule):
    def embed(self, view):
        tokens = super().embed(view)
        return attrs.evolve(tokens, features=tokens.features + torch.linspace(0, 1, tokens.features.shape[-1]))


@hookimpl
def didact_feature_encoders():
    return {"it": HomeboundEncoder}


def examples(folder):
    return {"it": [Example(spec=HomeboundEncoder())]}


@hookimpl
def didact_examples():
    return examples
