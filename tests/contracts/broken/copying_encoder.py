"""An encoder that computes on the CPU what it knows on the device.

breaks: waits
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class CopyingEncoder(TinyEncoder):
    """Looks at the content."""

    def build(self, signal):
        return CopyingModule(signal.axes[0], self.width, self.class_token)


class CopyingModule(TinyEncoderModule):
    def embed(self, view):
        view.content.cpu().mean()
        return super().embed(view)


@hookimpl
def didact_feature_encoders():
    return {"it": CopyingEncoder}


def examples(folder):
    return {"it": [Example(spec=CopyingEncoder())]}


@hookimpl
def didact_examples():
    return examples
