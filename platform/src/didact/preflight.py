"""Preflight: what is known of a run before its first step, and how a part says what it thinks of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

import attrs
import numpy as np

from didact.errors import DidactError, inside

if TYPE_CHECKING:
    from didact.experiment import Training
    from didact.tensors import Layout

Severity = Literal["fine", "warning", "error"]


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that was seen before the first step.

    Made with `fine`, `warning` and `error`.

    Attributes:
        severity: ``error``: the run would fail, so it does not start; ``warning``: it would run and most likely not do
            what was meant; ``fine``: good to know.
        says: what was seen, in one sentence with its numbers.
        where: the field that it is about, seen from the part that says it; empty for the part as a whole.
        mend: which field to change, and to what; empty only where all is fine.
    """

    severity: Severity
    says: str
    where: str = ""
    mend: str = ""

    @classmethod
    def fine(cls, says: str, *, where: str = "") -> Finding:
        """All is well, and this is how it is."""
        return cls(severity="fine", says=says, where=where)

    @classmethod
    def warning(cls, says: str, *, where: str = "", mend: str) -> Finding:
        """The run would go through, and most likely not do what was meant."""
        return cls(severity="warning", says=says, where=where, mend=mend)

    @classmethod
    def error(cls, says: str, *, where: str = "", mend: str) -> Finding:
        """The run would fail."""
        return cls(severity="error", says=says, where=where, mend=mend)

    @classmethod
    def of(cls, error: DidactError) -> Finding:
        """What an error says, as a finding."""
        return cls(severity="error", says=error.what, where=error.where, mend=error.mend)

    def at(self, field: str) -> Finding:
        """The same finding, seen from where ``field`` is a field: ``end`` becomes ``targets.teacher.end``."""
        return attrs.evolve(self, where=inside(field, self.where))

    def __str__(self) -> str:
        about = f"{self.where}: {self.says}" if self.where else self.says
        return f"{about}\n         mend: {self.mend}" if self.mend else about


@attrs.frozen(kw_only=True)
class Spread:
    """How a number varies: its smallest, its middle, its largest value."""

    smallest: float
    median: float
    largest: float

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """The spread of some numbers, of any shape."""
        return cls(smallest=float(values.min()), median=float(np.median(values)), largest=float(values.max()))

    def __str__(self) -> str:
        if self.smallest == self.largest:
            return _number(self.median)
        return f"{_number(self.smallest)} to {_number(self.largest)} (median {_number(self.median)})"


@attrs.frozen(kw_only=True)
class Preflight:
    """What is known of a run before its first step; what `Spec.examine` is given.

    Attributes:
        training: how long, on how much.
        samples: how many there are to learn from.
        layouts: the different arrangements that the encoder makes of samples, from the shortest sample to the longest.
            Where lengths vary these are a few of many, the two ends among them.
        positions: of a sample's view, over all samples.
        samples_per_step: over the first epoch.
        positions_per_step: over the first epoch, all views together, without padding.
        steps_per_epoch: how many steps see every sample once.
        blocks: how many the backbone has.
        pretrained: whether the network, and what is made of it, starts from trained weights.
    """

    training: Training
    samples: int
    layouts: tuple[Layout, ...]
    positions: Spread
    samples_per_step: Spread
    positions_per_step: Spread
    steps_per_epoch: float
    blocks: int
    pretrained: bool = False

    @property
    def steps(self) -> int:
        """The run's optimizer steps."""
        return self.training.steps


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:.3g}"
