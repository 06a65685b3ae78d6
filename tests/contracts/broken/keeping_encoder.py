"""An encoder that declares that it replaces positions, and keeps them.

breaks: declaration
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class KeepingEncoder(TinyEncoder):
    """Ignores replacements."""

    def build(self, signal):
        return KeepingModule(signal.axes[0], self.width, self.class_token)


class KeepingModule(TinyEncoderModule):
    def place(self, tokens, mask):
        kept = None if mask is None else attrs.evolve(mask, replaced=None)
        return super().place(tokens, kept)


@hookimpl
def didact_feature_encoders():
    return {"it": KeepingEncoder}


def examples(folder):
    return {"it": [Example(spec=KeepingEncoder())]}


@hookimpl
def didact_examples():
    return examples
