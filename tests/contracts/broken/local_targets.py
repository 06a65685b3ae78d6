"""Targets around a centre that each process computes alone.

breaks: processes
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class LocalTargets(TinyTargets):
    """Targets around a running centre."""

    def build(self, network):
        return LocalModule(self, network)


class LocalModule(TinyTargetsModule):
    def __init__(self, spec, network):
        super().__init__(spec, network)
        self.register_buffer("centre", torch.zeros(self.width))
        self.register_buffer("total", torch.zeros(self.width), persistent=False)

    @torch.no_grad()
    def forward(self, batch, passes, network):
        targets = super().forward(batch, passes, network)
        if self.training:
            self.total += torch.stack([target.values[:, 0].sum(0) for target in targets]).sum(0)
        return tuple(attrs.evolve(target, values=target.values - self.centre) for target in targets)

    @torch.no_grad()
    def after_step(self, network, step, steps):
        self.centre.lerp_(self.total, 0.1)
        self.total.zero_()
        return super().after_step(network, step, steps)


@hookimpl
def didact_target_builders():
    return {"it": LocalTargets}


def examples(folder):
    return {"it": [Example(spec=LocalTargets())]}


@hookimpl
def didact_examples():
    return examples
