"""A source whose contents are augmented.

breaks: determinism
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact.testing import Example, TinySource
from didact.testing.tiny_sources import TinySamples


@attrs.frozen(kw_only=True)
class RestlessSource(TinySource):
    """Walks with noise, whenever somebody looks."""

    def open(self):
        return RestlessSamples(self)


class RestlessSamples(TinySamples):
    looks = 0

    def content(self, index):
        RestlessSamples.looks += 1
        return super().content(index) + 1e-3 * RestlessSamples.looks

    def views(self, index, *, length, generator):
        return (super().content(index) + 0.01 * torch.randn(super().content(index).shape, generator=generator),)


@hookimpl
def didact_sources():
    return {"it": RestlessSource}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=RestlessSource())]}
