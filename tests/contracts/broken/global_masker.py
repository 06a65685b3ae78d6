"""A masker that draws from torch's global generator.

breaks: determinism
"""

from __future__ import annotations

import attrs
import torch

from didact import Mask, Masker, SpecError, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class GlobalMasker(Masker):
    """Half, at random."""

    def sample(self, layout, *, generator):
        if layout.positions < 2:
            raise SpecError("half of one position is nothing", hint="make the samples longer")
        predicted = torch.rand(1, layout.positions).argsort(1) < layout.positions // 2  # (1, T)
        return Mask.hide(predicted)


@hookimpl
def didact_maskers():
    return {"it": GlobalMasker}


def examples(folder):
    return {"it": [Example(spec=GlobalMasker())]}


@hookimpl
def didact_examples():
    return examples
