"""An optimizer that takes the norm of its shard of a gradient, not of the gradient.

breaks: processes
"""

from __future__ import annotations

import attrs
import torch

from didact import Optimizer, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class ShardedOptimizer(Optimizer):
    """Steps of the same length for each parameter."""

    def build(self, groups):
        return Normalized(groups, {})


class Normalized(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    local, gradient = (
                        one.to_local() if hasattr(one, "to_local") else one for one in (parameter, parameter.grad)
                    )
                    norm = gradient.norm().clamp(min=1e-6)
                    local.mul_(1 - group["lr"] * group["weight_decay"]).sub_(gradient / norm, alpha=group["lr"])


@hookimpl
def didact_components():
    return {"it": ShardedOptimizer}


def examples(folder):
    return {"it": [Example(spec=ShardedOptimizer(learning_rate=0.1))]}


@hookimpl
def didact_examples():
    return examples
