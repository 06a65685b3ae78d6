"""A head that scales the backbone's output in place.

breaks: inputs
"""

from __future__ import annotations

import attrs
from torch import nn

from didact import hookimpl
from didact_distill import Head, HeadModule
from didact_kit import Example


@attrs.frozen(kw_only=True)
class ScalingHead(Head):
    """One linear layer."""

    def build(self, network, target_width):
        return ScalingModule(network.backbone.width, target_width)


class ScalingModule(HeadModule):
    def __init__(self, width, target_width):
        super().__init__()
        self.layer = nn.Linear(width, target_width)

    def forward(self, context, mask, padding):
        context.output.detach().mul_(2.0)
        return self.layer(context.positions_only(context.output).flatten(0, 1).index_select(0, mask.row_indices))


@hookimpl
def didact_components():
    return {"it": ScalingHead}


def examples(folder):
    return {"it": [Example(spec=ScalingHead())]}


@hookimpl
def didact_examples():
    return examples
