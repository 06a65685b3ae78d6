"""An optimizer that reads the norm of each gradient on the host.

breaks: waits
also: processes
"""

from __future__ import annotations

import attrs
import torch

from didact import Optimizer, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class WaitingOptimizer(Optimizer):
    """Steps along the gradient."""

    def build(self, groups):
        return Waiting(groups, {})


class Waiting(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    norm = max(1.0, float(parameter.grad.norm()))
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(parameter.grad, alpha=group["lr"] / norm)


@hookimpl
def didact_components():
    return {"it": WaitingOptimizer}


def examples(folder):
    return {"it": [Example(spec=WaitingOptimizer(learning_rate=0.1))]}


@hookimpl
def didact_examples():
    return examples
