"""Targets that depend on the student's masked input.

breaks: leak
"""

from __future__ import annotations

import attrs
from torch.nn import functional as F

from didact import Target, hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class PeekingTargets(TinyTargets):
    """Predicts the student's own first row."""

    def build(self, network):
        return PeekingModule(self, network)


class PeekingModule(TinyTargetsModule):
    def forward(self, batch, passes, network):
        first = [one.backbone_output.output.detach()[:: self._masks(one)] for one in passes]  # (B, T, D)
        return tuple(Target(view=i, values=F.layer_norm(x, x.shape[-1:])) for i, x in enumerate(first))

    @staticmethod
    def _masks(one):
        return 1 if one.view.mask is None else one.view.mask.contexts


@hookimpl
def didact_target_builders():
    return {"it": PeekingTargets}


def examples(folder):
    return {"it": [Example(spec=PeekingTargets())]}


@hookimpl
def didact_examples():
    return examples
