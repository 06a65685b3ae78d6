"""An objective that removes the first prediction of each sample from the masks, in place.

breaks: inputs
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class UnmaskingObjective(TinyObjective):
    """Predicts one position less."""

    def build(self, network, targets):
        return UnmaskingModule(network.backbone.width, targets.width)


class UnmaskingModule(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        for view in batch.views:
            if view.mask is not None:
                view.mask.predicted[:, :, 0] = False
        return loss


@hookimpl
def didact_objectives():
    return {"it": UnmaskingObjective}


def examples(folder):
    return {"it": [Example(spec=UnmaskingObjective())]}


@hookimpl
def didact_examples():
    return examples
