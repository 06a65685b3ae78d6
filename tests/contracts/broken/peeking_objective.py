"""An objective that predicts from masked content.

breaks: leak
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class PeekingObjective(TinyObjective):
    """Adds the embedded sample, before masking, to the context."""

    def build(self, network, targets):
        return PeekingModule(network.backbone.width, targets.width)


class PeekingModule(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        peeking = []
        for one in passes:
            seen = one.tokens.features[:, :1]  # (B, 1, D)
            seen = seen.repeat_interleave(one.backbone_output.output.shape[0] // seen.shape[0], 0)
            context = attrs.evolve(one.backbone_output, output=one.backbone_output.output + seen)
            peeking.append(attrs.evolve(one, backbone_output=context))
        return super().forward(batch, tuple(peeking), targets)


@hookimpl
def didact_objectives():
    return {"it": PeekingObjective}


def examples(folder):
    return {"it": [Example(spec=PeekingObjective())]}


@hookimpl
def didact_examples():
    return examples
