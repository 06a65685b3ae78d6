"""A backbone that raises an error whenever it is called.

breaks: crashed
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class CrashingBackbone(TinyBackbone):
    """Divides by zero."""

    def build(self, width, layout):
        return CrashingModule(width, self.depth)


class CrashingModule(TinyBackboneModule):
    def forward(self, tokens, hidden_states=()):
        return 1 / 0


@hookimpl
def didact_backbones():
    return {"it": CrashingBackbone}


def examples(folder):
    return {"it": [Example(spec=CrashingBackbone())]}


@hookimpl
def didact_examples():
    return examples
