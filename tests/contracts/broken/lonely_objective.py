"""An objective of the whole batch that sees its own process alone.

breaks: processes
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class LonelyObjective(TinyObjective):
    """Adds the variance of the predictions over this process's share."""

    @property
    def supports_accumulation(self):
        return False

    def build(self, network, targets):
        return LonelyModule(network.backbone.width, targets.width)


class LonelyModule(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        loss = super().forward(batch, passes, targets)
        rows = self.head(passes[0].backbone_output.output[:, 0])  # (R, D)
        spread = rows.var(0).sum() * len(batch.ids)
        return attrs.evolve(loss, terms={name: term + spread for name, term in loss.terms.items()})


@hookimpl
def didact_objectives():
    return {"it": LonelyObjective}


def examples(folder):
    return {"it": [Example(spec=LonelyObjective())]}


@hookimpl
def didact_examples():
    return examples
