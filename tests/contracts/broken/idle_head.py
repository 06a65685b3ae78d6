"""A head with a layer that it does not use.

breaks: gradients
"""

from __future__ import annotations

import attrs
from torch import nn

from didact import hookimpl
from didact_distill import Head, HeadModule
from didact_kit import Example


@attrs.frozen(kw_only=True)
class IdleHead(Head):
    """One linear layer."""

    def build(self, network, target_width):
        return IdleModule(network.backbone.width, target_width)


class IdleModule(HeadModule):
    def __init__(self, width, target_width):
        super().__init__()
        self.layer = nn.Linear(width, target_width)

        self.other = nn.Linear(width, width)

    def forward(self, context, mask, padding):
        return self.layer(context.positions_only(context.output).flatten(0, 1).index_select(0, mask.row_indices))


@hookimpl
def didact_components():
    return {"it": IdleHead}


def examples(folder):
    return {"it": [Example(spec=IdleHead())]}


@hookimpl
def didact_examples():
    return examples
