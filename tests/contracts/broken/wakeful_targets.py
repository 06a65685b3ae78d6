"""Targets from a copy of the student that is in training mode, as the learner is.

breaks: modes
"""

from __future__ import annotations

import copy

import attrs
import torch
from torch.nn import functional as F

from didact import Target, hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class WakefulTargets(TinyTargets):
    """A teacher's output."""

    def build(self, network):
        return Module(self, network)


class Module(TinyTargetsModule):
    def __init__(self, spec, network):
        super().__init__(spec, network)
        del self.teacher
        self.copy = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def forward(self, batch, passes, network):
        values = [self.copy.contextualize(self.copy.encoder.embed(one.view), None).output for one in passes]
        return tuple(Target(view=i, values=F.layer_norm(x.float(), x.shape[-1:])) for i, x in enumerate(values))

    @torch.no_grad()
    def after_step(self, network, step, steps):
        for mine, its in zip(self.copy.parameters(), network.parameters(), strict=True):
            mine.lerp_(its, 0.1)
        for mine, its in zip(self.copy.buffers(), network.buffers(), strict=True):
            mine.copy_(its)
        return {}

    def evaluated_network(self, network):
        return self.copy


@hookimpl
def didact_target_builders():
    return {"it": WakefulTargets}


def examples(folder):
    return {"it": [Example(spec=WakefulTargets())]}


@hookimpl
def didact_examples():
    return examples
