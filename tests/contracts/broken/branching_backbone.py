"""A backbone that branches on a value of the device.

breaks: waits
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class BranchingBackbone(TinyBackbone):
    """Clips large outputs."""

    def build(self, width, layout):
        return BranchingModule(width, self.depth)


class BranchingModule(TinyBackboneModule):
    def forward(self, tokens, hidden_states=()):
        if tokens.features.abs().max() > 1e6:
            raise ValueError("too large")
        return super().forward(tokens, hidden_states)


@hookimpl
def didact_backbones():
    return {"it": BranchingBackbone}


def examples(folder):
    return {"it": [Example(spec=BranchingBackbone())]}


@hookimpl
def didact_examples():
    return examples
