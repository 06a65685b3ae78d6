"""A masker that ignores its generator: all samples get one mask.

breaks: difference
"""

from __future__ import annotations

import attrs
import torch

from didact import Mask, Masker, SpecError, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class StubbornMasker(Masker):
    """Every other position."""

    def sample(self, layout, *, generator):
        if layout.positions < 2:
            raise SpecError("half of one position is nothing", hint="make the samples longer")
        return Mask.hide((torch.arange(layout.positions) % 2 == 0)[None])  # (1, T)


@hookimpl
def didact_maskers():
    return {"it": StubbornMasker}


def examples(folder):
    return {"it": [Example(spec=StubbornMasker())]}


@hookimpl
def didact_examples():
    return examples
