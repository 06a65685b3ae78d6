"""A head that counts the class token among the positions.

breaks: indices
"""

from __future__ import annotations

import attrs
from torch import nn

from didact import hookimpl
from didact_distill import Head, HeadModule
from didact_kit import Example


@attrs.frozen(kw_only=True)
class CountingHead(Head):
    """One linear layer."""

    def build(self, network, target_width):
        return Layer(network.backbone.width, target_width)


class Layer(HeadModule):
    def __init__(self, width, target_width):
        super().__init__()
        self.layer = nn.Linear(width, target_width)

    def forward(self, context, mask, padding):
        return self.layer(context.output.flatten(0, 1)[mask.row_indices])


@hookimpl
def didact_components():
    return {"it": CountingHead}


def examples(folder):
    return {"it": [Example(spec=CountingHead())]}


@hookimpl
def didact_examples():
    return examples
