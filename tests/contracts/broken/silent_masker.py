"""A masker with an undocumented field.

breaks: documentation
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyMasker


@attrs.frozen(kw_only=True)
class SilentMasker(TinyMasker):
    """Half, at random."""

    secret: int = 3


@hookimpl
def didact_maskers():
    return {"it": SilentMasker}


def examples(folder):
    return {"it": [Example(spec=SilentMasker())]}


@hookimpl
def didact_examples():
    return examples
