"""A backbone that scales its output in its first five batches, which a skipped one counts among.

breaks: skipped
also: checkpoint, declaration
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class WarmingBackbone(TinyBackbone):
    """Warms up."""

    def build(self, width, layout):
        return WarmingModule(width, self.depth)


class WarmingModule(TinyBackboneModule):
    batches = 0

    def forward(self, tokens, hidden_states=()):
        result = super().forward(tokens, hidden_states)
        if not self.training:
            return result
        self.batches += 1
        return attrs.evolve(result, output=result.output * min(1.0, self.batches / 5))


@hookimpl
def didact_backbones():
    return {"it": WarmingBackbone}


def examples(folder):
    return {"it": [Example(spec=WarmingBackbone())]}


@hookimpl
def didact_examples():
    return examples
