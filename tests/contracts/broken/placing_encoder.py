"""An encoder that adds position codes to the tokens in place where nothing is masked.

breaks: inputs
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class PlacingEncoder(TinyEncoder):
    """Adds a constant."""

    def build(self, signal):
        return PlacingModule(signal.axes[0], self.width, self.class_token)


class PlacingModule(TinyEncoderModule):
    def place(self, tokens, mask):
        if mask is None:
            tokens.features.detach().add_(0.5)
        return super().place(tokens, mask)


@hookimpl
def didact_feature_encoders():
    return {"it": PlacingEncoder}


def examples(folder):
    return {"it": [Example(spec=PlacingEncoder())]}


@hookimpl
def didact_examples():
    return examples
