"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch

from didact import Optimizer, SpecError


@attrs.frozen(kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum: PyTorch's `torch.optim.SGD`.

    Attributes:
        weight_decay: the factor of the parameter that is added to its gradient; 1e-4 for MoCo's ResNets. Biases, norms
            and parameters in ``no_weight_decay()`` are exempt.
        momentum: the factor on the sum of earlier gradients; 0 keeps no sum.
        nesterov: whether the gradient is added to the momentum once more (Nesterov 1983; Sutskever et al. 2013).
    """

    weight_decay: float = 1e-4
    momentum: float = 0.9
    nesterov: bool = False

    def validate(self) -> None:
        super().validate()
        self.require(0 <= self.momentum < 1, "momentum", "from 0 up to but not 1")
        if self.nesterov and not self.momentum:
            raise SpecError("SGD.nesterov needs a momentum, got 0", where="nesterov", hint="momentum=0.9")

    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum, nesterov=self.nesterov)
