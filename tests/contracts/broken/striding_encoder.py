"""An encoder that says it strides farther than it does.

breaks: latents
"""

from __future__ import annotations

import attrs

from didact import FeatureEncoder, hookimpl
from didact.testing import Example, TinyEncoder
from didact.testing.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class StridingEncoder(TinyEncoder):
    """Columns."""

    def build(self, signal):
        return StridingModule(signal.axes[0], self.width, self.class_token)


class StridingModule(TinyEncoderModule):
    stride = 2


@hookimpl
def didact_feature_encoders() -> dict[str, type[FeatureEncoder]]:
    return {"it": StridingEncoder}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=StridingEncoder())]}
