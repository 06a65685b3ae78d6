"""A backbone with a weight that nothing uses.

breaks: gradients
"""

from __future__ import annotations

import attrs
from torch import nn

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class DetachedBackbone(TinyBackbone):
    """Has a projection that is never called."""

    def build(self, width, layout):
        return DetachedModule(width, self.depth)


class DetachedModule(TinyBackboneModule):
    def __init__(self, width, depth):
        super().__init__(width, depth)
        self.projection = nn.Linear(width, width)


@hookimpl
def didact_backbones():
    return {"it": DetachedBackbone}


def examples(folder):
    return {"it": [Example(spec=DetachedBackbone())]}


@hookimpl
def didact_examples():
    return examples
