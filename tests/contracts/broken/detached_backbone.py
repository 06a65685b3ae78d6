"""A backbone with a weight that nothing uses.

breaks: gradients
"""

from __future__ import annotations

import attrs
from torch import nn

from didact import hookimpl
from didact.testing import Example, TinyBackbone
from didact.testing.tiny import TinyBackboneModule


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


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=DetachedBackbone())]}
