"""An encoder that counts batches in a buffer, in evaluations too.

breaks: buffers
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class CountingEncoder(TinyEncoder):
    """Counts."""

    def build(self, signal):
        return CountingModule(signal.axes[0], self.width, self.class_token)


class CountingModule(TinyEncoderModule):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def embed(self, view):
        self.batches += 1
        return super().embed(view)


@hookimpl
def didact_feature_encoders():
    return {"it": CountingEncoder}


def examples(folder):
    return {"it": [Example(spec=CountingEncoder())]}


@hookimpl
def didact_examples():
    return examples
