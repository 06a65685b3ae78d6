"""An encoder whose stride is wrong.

breaks: latents
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class StridingEncoder(TinyEncoder):
    """Columns."""

    def build(self, signal):
        return StridingModule(signal.axes[0], self.width, self.class_token)


class StridingModule(TinyEncoderModule):
    stride = 2


@hookimpl
def didact_feature_encoders():
    return {"it": StridingEncoder}


def examples(folder):
    return {"it": [Example(spec=StridingEncoder())]}


@hookimpl
def didact_examples():
    return examples
