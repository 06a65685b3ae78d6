"""An encoder whose position codes are a mean over what is masked.

breaks: leak
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class LeakingEncoder(TinyEncoder):
    """Adds the mean of the sample."""

    def build(self, signal):
        return LeakingModule(signal.axes[0], self.width, self.class_token)


class LeakingModule(TinyEncoderModule):
    def place(self, tokens, mask):
        placed = super().place(tokens, mask)
        held = (
            tokens.features.new_ones(tokens.features.shape[:2]) if tokens.padding is None else ~tokens.padding
        )  # (B, T)
        mean = (tokens.features * held[..., None]).sum(1, keepdim=True) / held.sum(1)[:, None, None]  # (B, 1, D)
        mean = mean.repeat_interleave(placed.features.shape[0] // mean.shape[0], 0)  # (R, 1, D)
        return attrs.evolve(placed, features=placed.features + mean)


@hookimpl
def didact_feature_encoders():
    return {"it": LeakingEncoder}


def examples(folder):
    return {"it": [Example(spec=LeakingEncoder())]}


@hookimpl
def didact_examples():
    return examples
