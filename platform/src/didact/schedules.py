"""Learning-rate schedules: frozen values that are their own function of the step."""

from __future__ import annotations

import abc
import math

import attrs

from didact.spec import Spec


@attrs.frozen(kw_only=True)
class Schedule(Spec, abc.ABC):
    """How the learning rate moves over a run."""

    @abc.abstractmethod
    def at(self, step: int, steps: int) -> float:
        """The factor on the peak learning rate at step ``step`` (from 0) of ``steps``."""


@attrs.frozen(kw_only=True)
class Constant(Schedule):
    """The peak from the first step on, after an optional warm-up.

    Attributes:
        warmup_steps: steps over which it rises linearly from 0.
    """

    warmup_steps: int = 0

    def validate(self) -> None:
        self.require(self.warmup_steps >= 0, "warmup_steps", "at least 0")

    def at(self, step: int, steps: int) -> float:
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0


@attrs.frozen(kw_only=True)
class Cosine(Schedule):
    """Linear warm-up, then half a cosine down to ``final``.

    Attributes:
        warmup_steps: steps over which it rises linearly from 0.
        final: the factor at the last step.
    """

    warmup_steps: int = 0
    final: float = 0.0

    def validate(self) -> None:
        self.require(self.warmup_steps >= 0, "warmup_steps", "at least 0")
        self.require(0 <= self.final <= 1, "final", "between 0 and 1")

    def at(self, step: int, steps: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        share = (step - self.warmup_steps) / max(1, steps - 1 - self.warmup_steps)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
