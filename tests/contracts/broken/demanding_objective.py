"""An objective that fails without masks, and does not say that it needs some.

breaks: declaration
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class DemandingObjective(TinyObjective):
    """Counts masked positions."""

    def build(self, network, targets):
        return DemandingModule(network.backbone.width, targets.width)


class DemandingModule(TinyObjectiveModule):
    def num_targets(self, batch):
        return {"prediction": sum(view.mask.count for view in batch.views) + len(batch.ids)}


@hookimpl
def didact_objectives():
    return {"it": DemandingObjective}


def examples(folder):
    return {"it": [Example(spec=DemandingObjective())]}


@hookimpl
def didact_examples():
    return examples
