"""A head that raises an error in its first forward pass.

breaks: crashed
"""

from __future__ import annotations

import attrs
from torch import nn

from didact import hookimpl
from didact_distill import Head, HeadModule
from didact_kit import Example


@attrs.frozen(kw_only=True)
class FailingHead(Head):
    """One linear layer."""

    def build(self, network, target_width):
        return FailingModule(network.backbone.width, target_width)


class FailingModule(HeadModule):
    def __init__(self, width, target_width):
        super().__init__()
        self.layer = nn.Linear(width, target_width)

    def forward(self, context, mask, padding):
        return self.layers(context.output)


@hookimpl
def didact_components():
    return {"it": FailingHead}


def examples(folder):
    return {"it": [Example(spec=FailingHead())]}


@hookimpl
def didact_examples():
    return examples
