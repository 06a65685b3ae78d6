"""A backbone that gives more features than it declares.

breaks: declaration
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class ModestBackbone(TinyBackbone):
    """Declares blocks alone."""

    def build(self, width, layout):
        return ModestModule(width, self.depth)


class ModestModule(TinyBackboneModule):
    features = frozenset({"block"})


@hookimpl
def didact_backbones():
    return {"it": ModestBackbone}


def examples(folder):
    return {"it": [Example(spec=ModestBackbone())]}


@hookimpl
def didact_examples():
    return examples
