"""A masker that forgets its generator: all samples get one mask.

breaks: difference
"""

from __future__ import annotations

import attrs
import torch

from didact import Mask, Masker, SpecError, hookimpl
from didact.testing import Example


@attrs.frozen(kw_only=True)
class StubbornMasker(Masker):
    """Every other position."""

    def sample(self, layout, *, generator):
        if layout.positions < 2:
            raise SpecError("half of one position is nothing", mend="make the samples longer")
        return Mask.hide((torch.arange(layout.positions) % 2 == 0)[None])  # (1, T)


@hookimpl
def didact_maskers():
    return {"it": StubbornMasker}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=StubbornMasker())]}
