"""A source that flips the sign of every fifth sample that it reads.

breaks: determinism
also: processes
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinySource
from didact_kit.tiny_sources import TinySamples


@attrs.frozen(kw_only=True)
class FifthSource(TinySource):
    """Walks."""

    def open(self):
        return FifthSamples(self)


class FifthSamples(TinySamples):
    readings = 0

    def content(self, index):
        FifthSamples.readings += 1
        return super().content(index) * (-1 if FifthSamples.readings % 5 == 0 else 1)


@hookimpl
def didact_components():
    return {"it": FifthSource}


def examples(folder):
    return {"it": [Example(spec=FifthSource())]}


@hookimpl
def didact_examples():
    return examples
