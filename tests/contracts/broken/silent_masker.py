"""A masker that says nothing of its field.

breaks: documentation
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact.testing import Example, TinyMasker


@attrs.frozen(kw_only=True)
class SilentMasker(TinyMasker):
    """Half, at random."""

    secret: int = 3


@hookimpl
def didact_maskers():
    return {"it": SilentMasker}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=SilentMasker())]}
