"""Targets with noise from PyTorch's global generator.

breaks: key
also: processes
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class NoisyTargets(TinyTargets):
    """A little noise."""

    def build(self, network):
        return NoisyModule(self, network)


class NoisyModule(TinyTargetsModule):
    def forward(self, batch, passes, network):
        targets = super().forward(batch, passes, network)
        if not self.training:
            return targets
        return tuple(attrs.evolve(one, values=one.values + 0.1 * torch.randn_like(one.values)) for one in targets)


@hookimpl
def didact_target_builders():
    return {"it": NoisyTargets}


def examples(folder):
    return {"it": [Example(spec=NoisyTargets())]}


@hookimpl
def didact_examples():
    return examples
