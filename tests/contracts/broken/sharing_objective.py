"""An objective with a counter that all of its instances share.

breaks: steps
also: skipped, checkpoint, processes
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class SharingObjective(TinyObjective):
    """Counts steps of the process."""

    def build(self, network, targets):
        return SharingModule(network.backbone.width, targets.width)


class SharingModule(TinyObjectiveModule):
    steps = 0

    def __init__(self, width, targets):
        super().__init__(width, targets)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        return attrs.evolve(loss, terms={name: term * self.scale for name, term in loss.terms.items()})

    def after_step(self, network, step, steps):
        SharingModule.steps += 1
        self.scale.fill_(1 + SharingModule.steps % 7)
        return {}


@hookimpl
def didact_objectives():
    return {"it": SharingObjective}


def examples(folder):
    return {"it": [Example(spec=SharingObjective())]}


@hookimpl
def didact_examples():
    return examples
