"""An encoder with a weight from Python's hash of a word.

breaks: determinism
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class HashingEncoder(TinyEncoder):
    """A mask embedding of its own."""

    def build(self, signal):
        return HashingModule(signal.axes[0], self.width, self.class_token)


class HashingModule(TinyEncoderModule):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        with torch.no_grad():
            self.mask_embedding.mul_(1 + hash("mask") % 1000 / 1000)


@hookimpl
def didact_feature_encoders():
    return {"it": HashingEncoder}


def examples(folder):
    return {"it": [Example(spec=HashingEncoder())]}


@hookimpl
def didact_examples():
    return examples
