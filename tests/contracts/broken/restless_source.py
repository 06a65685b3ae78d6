"""A source whose contents are augmented.

breaks: determinism
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinySource
from didact_kit.tiny_sources import TinySamples


@attrs.frozen(kw_only=True)
class RestlessSource(TinySource):
    """Walks whose content changes at every reading."""

    def open(self):
        return RestlessSamples(self)


class RestlessSamples(TinySamples):
    readings = 0

    def content(self, index):
        RestlessSamples.readings += 1
        return super().content(index) + 1e-3 * RestlessSamples.readings

    def views(self, index, *, length, generator):
        return (super().content(index) + 0.01 * torch.randn(super().content(index).shape, generator=generator),)


@hookimpl
def didact_components():
    return {"it": RestlessSource}


def examples(folder):
    return {"it": [Example(spec=RestlessSource())]}


@hookimpl
def didact_examples():
    return examples
