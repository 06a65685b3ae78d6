"""An objective that normalises the target values in place.

breaks: inputs
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class NormalizingObjective(TinyObjective):
    """Squared distances of targets of length 1."""

    def build(self, network, targets):
        return NormalizingModule(network.backbone.width, targets.width)


class NormalizingModule(TinyObjectiveModule):
    def forward(self, batch, passes, targets):
        for target in targets:
            target.values.div_(target.values.norm(dim=-1, keepdim=True).clamp(min=1e-6))
        return super().forward(batch, passes, targets)


@hookimpl
def didact_objectives():
    return {"it": NormalizingObjective}


def examples(folder):
    return {"it": [Example(spec=NormalizingObjective())]}


@hookimpl
def didact_examples():
    return examples
