"""An optimizer that keeps its first learning rate.

breaks: groups
"""

from __future__ import annotations

import attrs
import torch

from didact import Optimizer, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class ConstantOptimizer(Optimizer):
    """Steps along the gradient."""

    def build(self, groups):
        return Constant(groups, {})


class Constant(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    change = parameter.grad + group["weight_decay"] * parameter
                    parameter.sub_(change, alpha=0.1)


@hookimpl
def didact_components():
    return {"it": ConstantOptimizer}


def examples(folder):
    return {"it": [Example(spec=ConstantOptimizer(learning_rate=0.1))]}


@hookimpl
def didact_examples():
    return examples
