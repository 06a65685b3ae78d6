"""An encoder with a row for each mask, not for each context.

breaks: rows
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyEncoder
from didact_kit.tiny import TinyEncoderModule


@attrs.frozen(kw_only=True)
class RepeatingEncoder(TinyEncoder):
    """Repeats samples for their masks."""

    def build(self, signal):
        return RepeatingModule(signal.axes[0], self.width, self.class_token)


class RepeatingModule(TinyEncoderModule):
    def place(self, tokens, mask):
        placed = super().place(tokens, mask)
        if mask is None or mask.masks == mask.contexts:
            return placed
        count = mask.masks // mask.contexts
        features = placed.features.repeat_interleave(count, 0)
        positions = None if placed.positions is None else placed.positions.repeat_interleave(count, 0)
        return attrs.evolve(placed, features=features, positions=positions)


@hookimpl
def didact_feature_encoders():
    return {"it": RepeatingEncoder}


def examples(folder):
    return {"it": [Example(spec=RepeatingEncoder())]}


@hookimpl
def didact_examples():
    return examples
