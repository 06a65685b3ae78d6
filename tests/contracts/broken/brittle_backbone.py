"""A backbone that says that it supports padding, and refuses it.

breaks: declaration
"""

from __future__ import annotations

import attrs

from didact import SpecError, hookimpl
from didact_kit import Example, TinyBackbone, TinySource
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class BrittleBackbone(TinyBackbone):
    """Takes samples of one size."""

    def build(self, width, layout):
        return BrittleModule(width, self.depth)


class BrittleModule(TinyBackboneModule):
    def forward(self, tokens, hidden_states=()):
        if tokens.padding is not None:
            raise SpecError("samples must be of one size", hint="crop them")
        return super().forward(tokens, hidden_states)


@hookimpl
def didact_backbones():
    return {"it": BrittleBackbone}


def examples(folder):
    return {"it": [Example(spec=BrittleBackbone(), source=TinySource())]}


@hookimpl
def didact_examples():
    return examples
