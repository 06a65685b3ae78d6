"""An encoder whose latent_width is wrong.

breaks: latents
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class NarrowEncoder(TinyEncoder):
    """Columns."""

    def build(self, signal):
        return NarrowModule(signal.axes[0], self.width, self.class_token)


class NarrowModule(TinyEncoderModule):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.latent_width -= 1


@hookimpl
def didact_feature_encoders():
    return {"it": NarrowEncoder}


def examples(folder):
    return {"it": [Example(spec=NarrowEncoder())]}


@hookimpl
def didact_examples():
    return examples
