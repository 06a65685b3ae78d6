"""A masker with a field that is no data.

breaks: data
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from didact import hookimpl
from didact_kit import Example, TinyMasker


@attrs.frozen(kw_only=True)
class CallableMasker(TinyMasker):
    """Half, at random.

    Attributes:
        schedule: of nothing.
    """

    schedule: Callable[..., Any] = len


@hookimpl
def didact_maskers():
    return {"it": CallableMasker}


def examples(folder):
    return {"it": [Example(spec=CallableMasker())]}


@hookimpl
def didact_examples():
    return examples
