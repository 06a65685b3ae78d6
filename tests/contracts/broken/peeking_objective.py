"""An objective that predicts from what was masked.

breaks: leak
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact.testing import Example, TinyObjective
from didact.testing.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class PeekingObjective(TinyObjective):
    """Adds the embedded sample, before masking, to the context."""

    def build(self, network, targets):
        return PeekingModule(network.backbone.width, targets.width)


class PeekingModule(TinyObjectiveModule):
    def forward(self, passes, targets):
        peeking = []
        for one in passes:
            seen = one.tokens.features[:, :1]  # (B, 1, D)
            seen = seen.repeat_interleave(one.context.output.shape[0] // seen.shape[0], 0)
            context = attrs.evolve(one.context, output=one.context.output + seen)
            peeking.append(attrs.evolve(one, context=context))
        return super().forward(tuple(peeking), targets)


@hookimpl
def didact_objectives():
    return {"it": PeekingObjective}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=PeekingObjective())]}
