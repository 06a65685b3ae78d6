"""Differences between paired runs, and how sure one can be of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np


@attrs.frozen(kw_only=True)
class Difference:
    """The mean of paired differences, and what is known of it.

    Attributes:
        pairs: how many there are.
        mean: of the differences.
        low: where its confidence interval begins; None where there is no interval: one pair, or no spread at all.
        high: where it ends.
        p: of the two-sided paired t-test that the true mean is 0; None where there is no interval.
    """

    pairs: int
    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def reach(self) -> float | None:
        """Half of the interval's width."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def paired_difference(values: Sequence[float], base: Sequence[float], level: float) -> Difference:
    """The paired t-test (Student 1908) of ``values`` against ``base``.

    It assumes that the differences, not the values, are draws from one normal distribution, independent from pair to
    pair. Seeds that change order, masks and initialisation at once give such pairs; with few of them it cannot be
    checked that they are normal.

    Differences that are all alike have no spread to judge their mean by: they are given without interval and p. That
    happens with measures of few steps, such as an accuracy on a small test set, and need not mean anything.

    Args:
        values: one for each seed.
        base: of the same seeds.
        level: the interval covers with one minus it.
    """
    differences = np.asarray(values, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    count, mean = len(differences), float(differences.mean())
    spread = float(differences.std(ddof=1)) if count > 1 else 0.0
    # sums of rounded numbers leave a spread that is none
    if count < 2 or spread <= 1e-12 * max(1.0, float(np.abs(values).max()), float(np.abs(base).max())):
        return Difference(pairs=count, mean=mean)
    from scipy.stats import t as student  # here: it takes a second to import

    error = spread / math.sqrt(count)
    reach = float(student.ppf(1 - level / 2, count - 1)) * error
    p = 2 * float(student.sf(abs(mean) / error, count - 1))
    return Difference(pairs=count, mean=mean, low=mean - reach, high=mean + reach, p=p)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for being several (Holm 1979): reject those below the level, and one is wrong that often.

    It holds whatever the tests have to do with each other, as those of a table have that share a base.

    Args:
        values: p-values; None for what was not tested, which stays None and does not count.
    """
    tested = sorted((p, place) for place, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[place] = largest
    return adjusted
