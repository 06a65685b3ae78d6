"""A source that seeds its augmentation with the index, so that each sample has one view for ever.

breaks: difference
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinySource
from didact_kit.tiny_sources import TinySamples


@attrs.frozen(kw_only=True)
class FrozenSource(TinySource):
    """Walks."""

    def open(self):
        return Opened(self)


class Opened(TinySamples):
    def views(self, index, *, length, generator):
        noise = torch.Generator().manual_seed(index)
        content = self.content(index)
        return (content + 0.1 * torch.randn(content.shape, generator=noise),)


@hookimpl
def didact_components():
    return {"it": FrozenSource}


def examples(folder):
    return {"it": [Example(spec=FrozenSource())]}


@hookimpl
def didact_examples():
    return examples
