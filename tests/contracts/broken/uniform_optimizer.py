"""An optimizer that uses the learning rate of its first group for all.

breaks: groups
"""

from __future__ import annotations

import attrs
import torch

from didact import Optimizer, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class UniformOptimizer(Optimizer):
    """Descends."""

    def build(self, groups):
        return Descent(groups, {})


class Descent(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure=None):
        lr = self.param_groups[0]["lr"]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad + group["weight_decay"] * parameter, alpha=lr)


@hookimpl
def didact_components():
    return {"it": UniformOptimizer}


def examples(folder):
    return {"it": [Example(spec=UniformOptimizer(learning_rate=0.1))]}


@hookimpl
def didact_examples():
    return examples
