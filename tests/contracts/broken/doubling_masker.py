"""A masker that draws two masks, and declares one.

breaks: declaration
"""

from __future__ import annotations

import attrs
import torch

from didact import Mask, hookimpl
from didact_kit import Example, TinyMasker


@attrs.frozen(kw_only=True)
class DoublingMasker(TinyMasker):
    """Two halves."""

    def sample(self, layout, *, generator):
        predicted = super().sample(layout, generator=generator).predicted
        return Mask.hide(torch.cat([predicted, ~predicted]))


@hookimpl
def didact_maskers():
    return {"it": DoublingMasker}


def examples(folder):
    return {"it": [Example(spec=DoublingMasker())]}


@hookimpl
def didact_examples():
    return examples
