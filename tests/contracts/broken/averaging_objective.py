"""An objective that predicts from a mean over padding, too.

breaks: padding
"""

from __future__ import annotations

import attrs

from didact import Loss, hookimpl
from didact_kit import Example, TinyObjective, TinyTargets
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class AveragingObjective(TinyObjective):
    """Predicts targets."""

    def build(self, network, targets):
        return Module(network.backbone.width, targets.width)


class Module(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        pooled = self.head(passes[0].backbone_output.output.mean(1)).float()
        distances = (pooled - targets[0].values).square().sum(1)
        return Loss(terms={"prediction": distances.sum()}, predictions=pooled.detach(), targets=targets[0].values)

    def num_targets(self, batch):
        return {"prediction": len(batch.ids)}


@hookimpl
def didact_objectives():
    return {"it": AveragingObjective}


def examples(folder):
    return {"it": [Example(spec=AveragingObjective(), targets=TinyTargets(level="sample"))]}


@hookimpl
def didact_examples():
    return examples
