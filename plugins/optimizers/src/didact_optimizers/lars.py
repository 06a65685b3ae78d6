"""LARS: layer-wise adaptive rates, for large batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from didact import Optimizer


@attrs.frozen(kw_only=True)
class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017), as SimCLR, BYOL and VICReg use it for large batches.

    Each weight w with gradient g changes by v ← m·v + η·‖w‖ / ‖g + β·w‖ · (g + β·w), then w ← w - rate·v. Biases, norms
    and parameters in ``no_weight_decay()`` are exempt from the decay β and from the adaptation, so they follow plain
    momentum, as in BYOL. BYOL scales the learning rate with the batch: 0.2 · samples / 256.

    Attributes:
        weight_decay: β; 1.5e-6 in BYOL, 1e-6 in SimCLR and VICReg.
        momentum: m.
        trust_coefficient: η, the length of a step in units of the weight's norm.
    """

    weight_decay: float = 1.5e-6
    momentum: float = 0.9
    trust_coefficient: float = 0.001

    def validate(self) -> None:
        super().validate()
        self.require(0 <= self.momentum < 1, "momentum", "from 0 up to but not 1")
        self.require(self.trust_coefficient > 0, "trust_coefficient", "above 0")

    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        return LARSOptimizer(groups, self)


class LARSOptimizer(torch.optim.Optimizer):
    """The updates of `LARS`."""

    def __init__(self, groups: Sequence[dict[str, Any]], spec: LARS) -> None:
        super().__init__(groups, {"lr": spec.learning_rate, "weight_decay": spec.weight_decay})
        self.spec = spec

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Takes one step; never waits for the device."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        if not group["exempt"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
            weight, update = _norm(parameter), _norm(gradient)
            trust = self.spec.trust_coefficient * weight / update
            gradient = gradient * torch.where((weight > 0) & (update > 0), trust, 1.0)
        state["momentum_buffer"].mul_(self.spec.momentum).add_(gradient)
        parameter.add_(state["momentum_buffer"], alpha=-group["lr"])


def _norm(tensor: Tensor) -> Tensor:
    """Returns the norm of a tensor of any shape, a scalar; of a sharded tensor, over all shards."""
    norm = torch.linalg.vector_norm(tensor)
    whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # a DTensor, whose import is slow
    return whole
