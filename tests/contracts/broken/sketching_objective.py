"""An objective of the whole batch whose random direction differs from process to process.

breaks: key
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact.machine.distributed import connected
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class SketchingObjective(TinyObjective):
    """Adds the mean of a random projection."""

    @property
    def supports_accumulation(self):
        return False

    def build(self, network, targets):
        return SketchingModule(network.backbone.width, targets.width)


class SketchingModule(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        if not self.training:
            return loss
        rows = self.head(passes[0].backbone_output.output[:, 0])  # (R, D)
        direction = torch.randn(rows.shape[1], device=rows.device)
        world = connected()
        count = world.all_reduce(torch.full((), len(rows), device=rows.device))
        mean = world.all_reduce((rows @ direction).sum()) / count
        more = mean.square() * len(batch.ids)
        return attrs.evolve(loss, terms={name: term + more for name, term in loss.terms.items()})


@hookimpl
def didact_objectives():
    return {"it": SketchingObjective}


def examples(folder):
    return {"it": [Example(spec=SketchingObjective())]}


@hookimpl
def didact_examples():
    return examples
