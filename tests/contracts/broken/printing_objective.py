"""An objective that prints its loss.

breaks: waits
"""

from __future__ import annotations

import sys

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class PrintingObjective(TinyObjective):
    """Prints."""

    def build(self, network, targets):
        return PrintingModule(network.backbone.width, targets.width)


class PrintingModule(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        if self.training:
            print(loss.terms["prediction"], file=sys.stderr)
        return loss


@hookimpl
def didact_objectives():
    return {"it": PrintingObjective}


def examples(folder):
    return {"it": [Example(spec=PrintingObjective())]}


@hookimpl
def didact_examples():
    return examples
