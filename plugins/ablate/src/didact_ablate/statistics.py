"""Differences between paired runs, and their statistical uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np


@attrs.frozen(kw_only=True)
class Difference:
    """The mean of paired differences, with its interval and p-value.

    Attributes:
        pairs: the number of pairs.
        mean: the mean difference.
        low: the lower end of the confidence interval; None with one pair, or if the differences do not vary.
        high: the upper end of the confidence interval; None if ``low`` is.
        p: the p-value of the two-sided paired t-test that the true mean is 0; None if there is no interval.
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
    """Compares ``values`` with ``base`` by the paired t-test (Student 1908).

    The test assumes that the differences, not the values, are independent draws from one normal distribution. Seeds
    that change order, masks and initialisation at once give such pairs. With few pairs, normality cannot be checked.

    Differences that are all equal have no spread, so they are returned without an interval and a p-value. Equal
    differences are common for coarse measures, such as the accuracy on a small test set, and may mean nothing.

    Args:
        values: (N) one value for each seed.
        base: (N) the base's values for the same seeds.
        level: the interval has coverage 1 - level.
    """
    differences = np.asarray(values, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    count, mean = len(differences), float(differences.mean())
    spread = float(differences.std(ddof=1)) if count > 1 else 0.0
    # rounding errors leave a spread where there is none
    if count < 2 or spread <= 1e-12 * max(1.0, float(np.abs(values).max()), float(np.abs(base).max())):
        return Difference(pairs=count, mean=mean)
    from scipy.stats import t as student  # imported here, because it takes a second

    error = spread / math.sqrt(count)
    reach = float(student.ppf(1 - level / 2, count - 1)) * error
    p = 2 * float(student.sf(abs(mean) / error, count - 1))
    return Difference(pairs=count, mean=mean, low=mean - reach, high=mean + reach, p=p)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Adjusts p-values for multiple tests (Holm 1979), which bounds the rate of any false rejection by the level.

    The adjustment is valid for dependent tests, such as those of a table with a shared base.

    Args:
        values: p-values; None for a difference that was not tested, which stays None and is not counted.
    """
    tested = sorted((p, place) for place, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[place] = largest
    return adjusted
