"""An objective that collects its predictions in a list until the step is over.

breaks: skipped
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact.machine.distributed import connected
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class RememberingObjective(TinyObjective):
    """Penalises the mean of the step's predictions."""

    def build(self, network, targets):
        return RememberingModule(network.backbone.width, targets.width)


class RememberingModule(TinyObjectiveModule):
    def __init__(self, width, targets):
        super().__init__(width, targets)
        self.seen = []
        self.register_buffer("mean", torch.zeros(targets))

    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        if self.training:
            self.seen.append(loss.predictions.sum(0))
        terms = {name: term + 0.0 * term + self.mean.square().sum() for name, term in loss.terms.items()}
        return attrs.evolve(loss, terms=terms)

    def after_step(self, network, step, steps):
        total = connected().all_reduce(torch.stack(self.seen).sum(0)) if self.seen else self.mean
        self.mean.copy_(total)
        self.seen.clear()
        return {}


@hookimpl
def didact_objectives():
    return {"it": RememberingObjective}


def examples(folder):
    return {"it": [Example(spec=RememberingObjective())]}


@hookimpl
def didact_examples():
    return examples
