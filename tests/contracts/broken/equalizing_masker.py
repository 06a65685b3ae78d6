"""A masker that makes counts equal by changing the masks that it is given.

breaks: inputs
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyMasker


@attrs.frozen(kw_only=True)
class EqualizingMasker(TinyMasker):
    """Half, at random; the first position is never predicted."""

    def equalize(self, masks, *, generator):
        for mask in masks:
            mask.predicted[:, 0] = False
            mask.corruption[:, 0] = 0
        return masks


@hookimpl
def didact_maskers():
    return {"it": EqualizingMasker}


def examples(folder):
    return {"it": [Example(spec=EqualizingMasker())]}


@hookimpl
def didact_examples():
    return examples
