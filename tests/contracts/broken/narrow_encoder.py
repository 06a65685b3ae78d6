"""An encoder whose latents are not as wide as it says.

breaks: latents
"""

from __future__ import annotations

import attrs

from didact import FeatureEncoder, hookimpl
from didact.testing import Example, TinyEncoder
from didact.testing.tiny import TinyEncoderModule


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
def didact_feature_encoders() -> dict[str, type[FeatureEncoder]]:
    return {"it": NarrowEncoder}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=NarrowEncoder())]}
