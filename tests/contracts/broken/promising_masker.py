"""A masker that declares replacements, and makes none.

breaks: declaration
"""

from __future__ import annotations

import attrs

from didact import Masking, hookimpl
from didact_kit import Example, TinyMasker


@attrs.frozen(kw_only=True)
class PromisingMasker(TinyMasker):
    """Half, at random."""

    @property
    def masking(self):
        return Masking.of("hide", "replace")


@hookimpl
def didact_maskers():
    return {"it": PromisingMasker}


def examples(folder):
    return {"it": [Example(spec=PromisingMasker())]}


@hookimpl
def didact_examples():
    return examples
