"""Preflight: what is known of a run before its first step, and what a part finds in it.

A spec that has something to check against the data or the length of a run has a method ``examine(preflight)``, which
yields findings. The plugin didact-doctor calls it.
"""

from __future__ import annotations

from typing import Literal, Self

import attrs
import numpy as np

from didact.tensors import Layout


@attrs.frozen(kw_only=True)
class Finding:
    """One thing found before the first step; `fine` and `warning` make most.

    Attributes:
        severity: ``error``: the run would fail, so it does not start; ``warning``: the run would complete, but most
            likely not do what was intended; ``fine``: information.
        says: what was found, in one sentence with its numbers.
        where: the field that it is about, relative to the part that reports it; empty for the part as a whole.
        hint: which field to change, and to what; empty only where all is fine.
    """

    severity: Literal["fine", "warning", "error"]
    says: str
    where: str = ""
    hint: str = ""

    @classmethod
    def fine(cls, says: str, *, where: str = "") -> Finding:
        """Information; nothing is wrong."""
        return cls(severity="fine", says=says, where=where)

    @classmethod
    def warning(cls, says: str, *, where: str = "", hint: str) -> Finding:
        """The run would complete, but most likely not do what was intended."""
        return cls(severity="warning", says=says, where=where, hint=hint)


@attrs.frozen(kw_only=True)
class Spread:
    """How a number varies.

    Attributes:
        smallest: of the values.
        median: of the values.
        largest: of the values.
    """

    smallest: float
    median: float
    largest: float

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """The spread of some numbers, of any shape."""
        return cls(smallest=float(values.min()), median=float(np.median(values)), largest=float(values.max()))


@attrs.frozen(kw_only=True)
class Preflight:
    """What is known of a run before its first step; the argument of ``examine``.

    Attributes:
        steps: the run's optimizer steps.
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

    steps: int
    samples: int
    layouts: tuple[Layout, ...]
    positions: Spread
    samples_per_step: Spread
    positions_per_step: Spread
    steps_per_epoch: float
    blocks: int
    pretrained: bool = False
