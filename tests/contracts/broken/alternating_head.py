"""A head that changes with every batch.

breaks: steps
also: skipped, checkpoint
"""

from __future__ import annotations

import attrs
from torch import nn

from didact import hookimpl
from didact_distill import Head, HeadModule
from didact_kit import Example


@attrs.frozen(kw_only=True)
class AlternatingHead(Head):
    """One linear layer."""

    def build(self, network, target_width):
        return AlternatingModule(network.backbone.width, target_width)


class AlternatingModule(HeadModule):
    def __init__(self, width, target_width):
        super().__init__()
        self.layer = nn.Linear(width, target_width)

        self.batches = 0

    def forward(self, context, mask, padding):
        self.batches += self.training
        predictions = self.layer(context.positions_only(context.output).flatten(0, 1).index_select(0, mask.row_indices))
        return predictions * (1 + self.batches % 2)


@hookimpl
def didact_components():
    return {"it": AlternatingHead}


def examples(folder):
    return {"it": [Example(spec=AlternatingHead())]}


@hookimpl
def didact_examples():
    return examples
