"""The contract of optimizers, the default optimizer, and groups of parameters with settings of their own."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import attrs
import torch

from didact.spec import Spec


@attrs.frozen(kw_only=True)
class Optimizer(Spec, abc.ABC):
    """Changes the parameters along their gradients.

    Attributes:
        learning_rate: the learning rate at the schedule's peak.
        weight_decay: the weight decay at its schedule's peak. Biases, norms and parameters in ``no_weight_decay()`` are
            exempt.
    """

    learning_rate: float
    weight_decay: float = 0.0

    def validate(self) -> None:
        self.require(self.learning_rate >= 0, "learning_rate", "at least 0")
        self.require(self.weight_decay >= 0, "weight_decay", "at least 0")

    @abc.abstractmethod
    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        """Builds the optimizer.

        Checkpoints hold its ``state``, by parameter, which must be tensors alone. A parameter without a gradient must
        stay as it is. Before every step, the core sets the ``lr`` and ``weight_decay`` of each group.

        Args:
            groups: groups for `torch.optim.Optimizer`; they may be split but must keep their keys. ``params`` are pairs
                of a name and a parameter of any shape, a ``DTensor`` with ``strategy="fsdp"``; ``exempt``: whether they
                are exempt from weight decay; ``in_blocks``: whether they belong to the blocks of a backbone;
                ``learning_rate_scale``: their factor on the learning rate.
        """


@attrs.frozen(kw_only=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), in one fused kernel.

    Attributes:
        betas: the coefficients of the running averages of the gradient and of its square.
        epsilon: the term that is added to the denominator.
    """

    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-6

    def validate(self) -> None:
        super().validate()
        self.require(all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers from 0 up to but not 1")
        self.require(self.epsilon > 0, "epsilon", "above 0")

    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=self.betas, eps=self.epsilon, fused=True)


@attrs.frozen(kw_only=True)
class ParameterGroup(Spec):
    """Some parameters with settings of their own.

    Attributes:
        parameters: a pattern for the names of parameters, such as ``network.encoder.*``; ``*`` matches any characters.
        learning_rate_scale: the factor on the learning rate, in addition to ``training.layer_decay``.
        weight_decay: the weight decay at its schedule's peak; None uses the optimizer's. Exempt parameters stay exempt.
        frozen_steps: number of first steps in which the parameters do not change: their gradients are dropped, as
            DINO's of the last layer. None freezes them for the whole run, without gradients and optimizer state.
    """

    parameters: str
    learning_rate_scale: float = 1.0
    weight_decay: float | None = None
    frozen_steps: int | None = 0

    def validate(self) -> None:
        self.require(self.learning_rate_scale > 0, "learning_rate_scale", "above 0", "; frozen_steps=None freezes")
        for field in ("weight_decay", "frozen_steps"):
            self.require((getattr(self, field) or 0) >= 0, field, "at least 0, or None")
