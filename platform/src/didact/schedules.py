"""Learning-rate schedules: frozen values that are their own function of the step."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator

import attrs

from didact.preflight import Finding, Preflight
from didact.spec import Spec

LONGEST_WARMUP = 0.5  # of the run's steps; published runs warm up for 1 to 10 % of them


@attrs.frozen(kw_only=True)
class Schedule(Spec, abc.ABC):
    """How the learning rate moves over a run."""

    @abc.abstractmethod
    def at(self, step: int, steps: int) -> float:
        """The factor on the peak learning rate at step ``step`` (from 0) of ``steps``."""

    def examine_warmup(self, preflight: Preflight, field: str, mend: str) -> Iterator[Finding]:
        """Finds whether the peak comes, and how late; for `examine` of schedules that warm up.

        Args:
            preflight: what is known.
            field: that says how long it warms up.
            mend: what to set it to.
        """
        steps = preflight.steps
        looked_at = [round(share / 1000 * (steps - 1)) for share in range(1001)]
        factors = [self.at(step, steps) for step in looked_at]
        peak = max(factors)
        first = looked_at[factors.index(peak)]
        if peak < 0.99:
            yield Finding.warning(
                f"the learning rate never reaches its peak: {steps:,} steps bring it to {peak:.0%} of it",
                where=field,
                mend=mend,
            )
        elif first > LONGEST_WARMUP * steps:
            yield Finding.warning(
                f"the learning rate rises for {first / steps:.0%} of the run, up to about step {first + 1:,} of "
                f"{steps:,}",
                where=field,
                mend=mend,
            )
        else:
            yield Finding.fine(f"the learning rate reaches its peak at about step {first + 1:,} of {steps:,}")


@attrs.frozen(kw_only=True)
class Constant(Schedule):
    """The peak from the first step on, after an optional warm-up.

    Attributes:
        warmup_steps: steps over which it rises linearly from 0.
    """

    warmup_steps: int = 0

    def validate(self) -> None:
        self.require(self.warmup_steps >= 0, "warmup_steps", "at least 0")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        return self.examine_warmup(
            preflight, "warmup_steps", f"warmup_steps={preflight.steps // 10}, a tenth of the run"
        )

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

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        return self.examine_warmup(
            preflight, "warmup_steps", f"warmup_steps={preflight.steps // 10}, a tenth of the run"
        )

    def at(self, step: int, steps: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        share = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


@attrs.frozen(kw_only=True)
class TriStage(Schedule):
    """Linear warm-up, constant, exponential decay: the schedule of speech models (SpecAugment, Park et al. 2019).

    Attributes:
        warmup: share of the steps over which it rises.
        hold: share of the steps at the peak.
        initial: factor at the first step.
        final: factor at the last step.
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

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        return self.examine_warmup(preflight, "warmup", "data2vec warms up for 0.03 of the run")

    def at(self, step: int, steps: int) -> float:
        rise, hold = self.warmup * steps, self.hold * steps
        if step < rise:
            return self.initial + (1 - self.initial) * step / rise
        if step < rise + hold:
            return 1.0
        share = (step - rise - hold) / max(1.0, steps - rise - hold)
        return math.exp(math.log(self.final) * min(1.0, share))
