"""An optimizer that counts its steps outside of its state.

breaks: checkpoint
"""

from __future__ import annotations

import attrs
import torch

from didact import Optimizer, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class CountingOptimizer(Optimizer):
    """Steps that become shorter."""

    def build(self, groups):
        return Shorter(groups, {})


class Shorter(torch.optim.Optimizer):
    steps = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.steps += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    change = parameter.grad + group["weight_decay"] * parameter
                    parameter.sub_(change, alpha=group["lr"] / self.steps)


@hookimpl
def didact_components():
    return {"it": CountingOptimizer}


def examples(folder):
    return {"it": [Example(spec=CountingOptimizer(learning_rate=0.1))]}


@hookimpl
def didact_examples():
    return examples
