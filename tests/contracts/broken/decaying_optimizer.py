"""An optimizer that decays all parameters.

breaks: decay
"""

from __future__ import annotations

import attrs
import torch

from didact import Optimizer, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class DecayingOptimizer(Optimizer):
    """Steps along the gradient."""

    def build(self, groups):
        return Decaying(groups, {})


class Decaying(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * 0.05).sub_(parameter.grad, alpha=group["lr"])


@hookimpl
def didact_components():
    return {"it": DecayingOptimizer}


def examples(folder):
    return {"it": [Example(spec=DecayingOptimizer(learning_rate=0.1))]}


@hookimpl
def didact_examples():
    return examples
