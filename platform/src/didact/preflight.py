"""Preflight: what is known of a run before its first step, and findings about the run.

A spec that checks itself against the data or the length of a run has a method ``examine(preflight)``, which yields
findings. The plugin didact-doctor calls this method.
"""

from __future__ import annotations

from typing import Literal, Self

import attrs
import numpy as np

from didact.tensors import Layout


@attrs.frozen(kw_only=True)
class Finding:
    """The result of one check before the first step; usually made with `fine` or `warning`.

    Attributes:
        severity: ``error``: the run would fail, so it does not start; ``warning``: the run would complete, but most
            likely not do what was intended; ``fine``: information.
        says: the finding, in one sentence with its numbers.
        where: the field that the finding is about, relative to the reporting part; empty for the part as a whole.
        hint: which field to change, and to what; empty only if the severity is ``fine``.
    """

    severity: Literal["fine", "warning", "error"]
    says: str
    where: str = ""
    hint: str = ""

    @classmethod
    def fine(cls, says: str, *, where: str = "") -> Finding:
        """Makes a finding that only informs."""
        return cls(severity="fine", says=says, where=where)

    @classmethod
    def warning(cls, says: str, *, where: str = "", hint: str) -> Finding:
        """Makes a finding about a run that would complete, but most likely not do what was intended."""
        return cls(severity="warning", says=says, where=where, hint=hint)


@attrs.frozen(kw_only=True)
class Spread:
    """The range of some values.

    Attributes:
        smallest: the smallest value.
        median: the median value.
        largest: the largest value.
    """

    smallest: float
    median: float
    largest: float

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Computes the spread of an array of any shape."""
        return cls(smallest=float(values.min()), median=float(np.median(values)), largest=float(values.max()))


@attrs.frozen(kw_only=True)
class Preflight:
    """What is known of a run before its first step; the argument of ``examine``.

    Attributes:
        steps: number of optimizer steps of the run.
        samples: number of samples to learn from.
        layouts: the different layouts that the encoder gives to samples, from the shortest sample to the longest. If
            lengths vary, this is a selection that includes the shortest and the longest.
        positions: number of positions in a sample's view, over all samples.
        samples_per_step: number of samples in a step, over the first epoch.
        positions_per_step: number of positions in a step, over the first epoch, in all views together, without padding.
        steps_per_epoch: number of steps that see every sample once.
        blocks: number of blocks in the backbone.
        pretrained: whether the network, and the parts built from it, start from trained weights.
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
