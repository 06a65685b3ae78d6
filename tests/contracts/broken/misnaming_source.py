"""A source that names more columns than its samples have.

breaks: shapes
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinySource


@attrs.frozen(kw_only=True)
class MisnamingSource(TinySource):
    """Walks of 24 steps with 25 names."""

    def signal(self):
        names = tuple(f"column {number}" for number in range(25))
        return attrs.evolve(super().signal(), columns=names)


@hookimpl
def didact_components():
    return {"it": MisnamingSource}


def examples(folder):
    return {"it": [Example(spec=MisnamingSource(length=24))]}


@hookimpl
def didact_examples():
    return examples
