"""Schedules of the learning rate and the weight decay: frozen values that compute a factor for each step."""

from __future__ import annotations

import abc
import math

import attrs

from didact.spec import Spec


@attrs.frozen(kw_only=True)
class Schedule(Spec, abc.ABC):
    """The course of the learning rate, or of the weight decay, over a run."""

    @abc.abstractmethod
    def at(self, step: int, steps: int) -> float:
        """Returns the factor on the peak value at step ``step`` (from 0) of ``steps``."""


@attrs.frozen(kw_only=True)
class Constant(Schedule):
    """A constant learning rate, after an optional warm-up.

    Attributes:
        warmup_steps: number of steps over which the rate rises linearly from 0.
    """

    warmup_steps: int = 0

    def validate(self) -> None:
        self.require(self.warmup_steps >= 0, "warmup_steps", "at least 0")

    def at(self, step: int, steps: int) -> float:
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0


@attrs.frozen(kw_only=True)
class Cosine(Schedule):
    """A linear warm-up, then half a cosine from ``initial`` to ``final``.

    Attributes:
        warmup_steps: number of steps over which the rate rises linearly from 0.
        initial: the factor after the warm-up. DINO's weight decay rises from 0.1 of its peak.
        final: the factor at the last step.
    """

    warmup_steps: int = 0
    initial: float = 1.0
    final: float = 0.0

    def validate(self) -> None:
        self.require(self.warmup_steps >= 0, "warmup_steps", "at least 0")
        self.require(0 <= self.initial <= 1, "initial", "between 0 and 1")
        self.require(0 <= self.final <= 1, "final", "between 0 and 1")

    def at(self, step: int, steps: int) -> float:
        if step < self.warmup_steps:
            return self.initial * (step + 1) / self.warmup_steps
        share = (step - self.warmup_steps) / max(1, steps - 1 - self.warmup_steps)
        return self.final + (self.initial - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
