"""The learning-rate schedule with which data2vec trains on speech and text."""

from __future__ import annotations

import math

import attrs

from didact import Schedule


@attrs.frozen(kw_only=True)
class TriStage(Schedule):
    """Linear warm-up, constant, exponential decay: the schedule of speech models (SpecAugment, Park et al. 2019).

    Attributes:
        warmup: share of the steps over which the learning rate rises.
        hold: share of the steps at the peak learning rate.
        initial: factor on the peak learning rate at the first step.
        final: factor on the peak learning rate at the last step.
    """

    warmup: float = 0.03
    hold: float = 0.9
    initial: float = 0.01
    final: float = 0.01

    def validate(self) -> None:
        self.require(0 <= self.warmup <= 1, "warmup", "between 0 and 1")
        self.require(0 <= self.hold <= 1 - self.warmup, "hold", f"between 0 and 1 - warmup ({1 - self.warmup:g})")
        self.require(0 <= self.initial <= 1, "initial", "between 0 and 1")
        self.require(0 < self.final <= 1, "final", "above 0 and at most 1")

    def at(self, step: int, steps: int) -> float:
        rise, hold = self.warmup * steps, self.hold * steps
        if step < rise:
            return self.initial + (1 - self.initial) * step / rise
        if step < rise + hold:
            return 1.0
        share = (step - rise - hold) / max(1.0, steps - 1 - rise - hold)
        return math.exp(math.log(self.final) * min(1.0, share))
