"""A backbone that declares a feature that it refuses.

breaks: declaration
"""

from __future__ import annotations

import attrs

from didact import SpecError, hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class RefusingBackbone(TinyBackbone):
    """Gives blocks alone."""

    def build(self, width, layout):
        return RefusingModule(width, self.depth)


class RefusingModule(TinyBackboneModule):
    def forward(self, tokens, hidden_states=()):
        if any(wanted.feature == "attention" for wanted in hidden_states):
            raise SpecError("there is no attention", hint="use feature='block'")
        return super().forward(tokens, hidden_states)


@hookimpl
def didact_backbones():
    return {"it": RefusingBackbone}


def examples(folder):
    return {"it": [Example(spec=RefusingBackbone())]}


@hookimpl
def didact_examples():
    return examples
