"""A backbone whose hidden states are one tensor, which later blocks change in place.

breaks: features
"""

from __future__ import annotations

import attrs
import torch

from didact import BackboneOutput, HiddenState, SpecError, hookimpl
from didact.tensors import mean_over_positions
from didact_kit import Example, TinyBackbone
from didact_kit.tiny import TinyBackboneModule


@attrs.frozen(kw_only=True)
class AliasingBackbone(TinyBackbone):
    """Linear blocks."""

    def build(self, width, layout):
        return Module(width, self.depth)


class Module(TinyBackboneModule):
    features = ("block",)

    def forward(self, tokens, hidden_states=()):
        wanted = HiddenState.by_block(hidden_states, len(self.blocks))
        for one in hidden_states:
            if one.feature != "block":
                raise SpecError(f"no {one.feature}", hint="ask for block")
        x, found = tokens.features.clone(), {}
        for index, block in enumerate(self.blocks):
            x += torch.tanh(block(x.clone() + mean_over_positions(x, tokens.padding)[:, None]))
            found |= {HiddenState(block=index, feature=feature): x for feature in wanted.get(index, ())}
        return BackboneOutput(output=x, tokens=tokens, hidden_states=tuple(found[one] for one in hidden_states))


@hookimpl
def didact_backbones():
    return {"it": AliasingBackbone}


def examples(folder):
    return {"it": [Example(spec=AliasingBackbone())]}


@hookimpl
def didact_examples():
    return examples
