"""A masker that shifts every fourth mask.

breaks: determinism
"""

from __future__ import annotations

import attrs

from didact import Mask, hookimpl
from didact_kit import Example, TinyMasker

draws = 0


@attrs.frozen(kw_only=True)
class FourthMasker(TinyMasker):
    """Half, at random."""

    def sample(self, layout, *, generator):
        global draws
        draws += 1
        mask = super().sample(layout, generator=generator)
        return Mask.hide(mask.predicted.roll(int(draws % 4 == 0), 1))


@hookimpl
def didact_maskers():
    return {"it": FourthMasker}


def examples(folder):
    return {"it": [Example(spec=FourthMasker())]}


@hookimpl
def didact_examples():
    return examples
