"""A source that augments the samples that it has cached.

breaks: inputs
also: determinism, processes
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinySource
from didact_kit.tiny_sources import TinySamples


@attrs.frozen(kw_only=True)
class CachingSource(TinySource):
    """Walks that are read once."""

    def open(self):
        return CachingSamples(self)


class CachingSamples(TinySamples):
    def __init__(self, source):
        self.cache = {}
        super().__init__(source)

    def content(self, index):
        if index not in self.cache:
            self.cache[index] = super().content(index)
        return self.cache[index]

    def views(self, index, *, length, generator):
        content = self.content(index)
        content += 0.01 * torch.randn(content.shape, generator=generator)
        return (content,)


@hookimpl
def didact_components():
    return {"it": CachingSource}


def examples(folder):
    return {"it": [Example(spec=CachingSource())]}


@hookimpl
def didact_examples():
    return examples
