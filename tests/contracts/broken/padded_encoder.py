"""An encoder that centres a sample with the padding behind it.

breaks: padding
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class PaddedEncoder(TinyEncoder):
    """Centres content over all columns."""

    def build(self, signal):
        return PaddedModule(signal.axes[0], self.width, self.class_token)


class PaddedModule(TinyEncoderModule):
    def embed(self, view):
        content = view.content - view.content.mean(-1, keepdim=True)  # (B, F, T): zeros of the padding count
        return super().embed(attrs.evolve(view, content=content))


@hookimpl
def didact_feature_encoders():
    return {"it": PaddedEncoder}


def examples(folder):
    return {"it": [Example(spec=PaddedEncoder())]}


@hookimpl
def didact_examples():
    return examples
