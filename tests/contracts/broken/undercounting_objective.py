"""An objective that counts the targets of the first mask alone.

breaks: indices
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class UndercountingObjective(TinyObjective):
    """Predicts targets."""

    requires_masks = True

    def build(self, network, targets):
        return Module(network.backbone.width, targets.width)


class Module(TinyObjectiveModule):
    def num_targets(self, batch):
        return {"prediction": sum(len(batch.ids) + int(view.mask.predicted[:, 0].sum()) for view in batch.views)}


@hookimpl
def didact_objectives():
    return {"it": UndercountingObjective}


def examples(folder):
    return {"it": [Example(spec=UndercountingObjective())]}


@hookimpl
def didact_examples():
    return examples
