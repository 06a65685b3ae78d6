"""A masker that hides positions that are not predicted.

breaks: prediction
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyMasker


@attrs.frozen(kw_only=True)
class LosingMasker(TinyMasker):
    """Hides more than it predicts."""

    def sample(self, layout, *, generator):
        mask = super().sample(layout, generator=generator)
        first = mask.predicted & (mask.predicted.cumsum(1) == 1)  # (M, T)
        return attrs.evolve(mask, predicted=first)


@hookimpl
def didact_maskers():
    return {"it": LosingMasker}


def examples(folder):
    return {"it": [Example(spec=LosingMasker())]}


@hookimpl
def didact_examples():
    return examples
