"""An encoder that scales the content of a batch in place.

breaks: inputs
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class CentringEncoder(TinyEncoder):
    """Columns of half the size."""

    def build(self, signal):
        return CentringModule(signal.axes[0], self.width, self.class_token)


class CentringModule(TinyEncoderModule):
    def embed(self, view):
        view.content.mul_(0.5)
        return super().embed(view)


@hookimpl
def didact_feature_encoders():
    return {"it": CentringEncoder}


def examples(folder):
    return {"it": [Example(spec=CentringEncoder())]}


@hookimpl
def didact_examples():
    return examples
