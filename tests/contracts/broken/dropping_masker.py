"""A masker that drops positions, and declares that it hides them.

breaks: declaration
"""

from __future__ import annotations

import attrs

from didact import Mask, hookimpl
from didact_kit import Example, TinyMasker


@attrs.frozen(kw_only=True)
class DroppingMasker(TinyMasker):
    """Half, at random."""

    def sample(self, layout, *, generator):
        return Mask.drop(super().sample(layout, generator=generator).predicted)


@hookimpl
def didact_maskers():
    return {"it": DroppingMasker}


def examples(folder):
    return {"it": [Example(spec=DroppingMasker())]}


@hookimpl
def didact_examples():
    return examples
