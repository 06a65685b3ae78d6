"""A masker that excludes a field from comparison.

breaks: fingerprint
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyMasker


@attrs.frozen(kw_only=True)
class RoundingMasker(TinyMasker):
    """Half, at random.

    Attributes:
        temperature: left out of comparison.
    """

    temperature: float = attrs.field(default=1.0, eq=False)


@hookimpl
def didact_maskers():
    return {"it": RoundingMasker}


def examples(folder):
    return {"it": [Example(spec=RoundingMasker())]}


@hookimpl
def didact_examples():
    return examples
