"""A masker that depends on Python's hash of a word, which differs from process to process.

breaks: processes
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyMasker


@attrs.frozen(kw_only=True)
class SaltedMasker(TinyMasker):
    """Half, at random, and differently elsewhere."""

    def sample(self, layout, *, generator):
        salt = hash("spans") % 1_000_003
        mixed = torch.Generator().manual_seed(int(torch.randint(1 << 30, (), generator=generator)) + salt)
        return super().sample(layout, generator=mixed)


@hookimpl
def didact_maskers():
    return {"it": SaltedMasker}


def examples(folder):
    return {"it": [Example(spec=SaltedMasker())]}


@hookimpl
def didact_examples():
    return examples
