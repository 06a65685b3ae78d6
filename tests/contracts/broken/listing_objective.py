"""An objective that reads the targets as a list.

breaks: waits
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class ListingObjective(TinyObjective):
    """Checks its targets."""

    def build(self, network, targets):
        return ListingModule(network.backbone.width, targets.width)


class ListingModule(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        assert all(value == value for target in targets for value in target.values.flatten().tolist())
        return super().forward(batch, passes, targets)


@hookimpl
def didact_objectives():
    return {"it": ListingObjective}


def examples(folder):
    return {"it": [Example(spec=ListingObjective())]}


@hookimpl
def didact_examples():
    return examples
