"""The statistics against their definitions, SciPy and simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, ttest_rel

from didact_ablate.comparison import Result, Setting, compare
from didact_ablate.statistics import holm, paired_difference

SETTING = Setting(name="simulated", metric="probe/linear", base="base")


def simulated(rng, effects: dict[str, float], seeds: int, noise: float = 1.0, of_seeds: float = 5.0) -> list[Result]:
    """A study: every seed moves all variants alike, which pairing takes out, and each run by noise of its own."""
    moved = rng.normal(0, of_seeds, seeds)
    return [
        Result(variant=name, seed=seed, values={"probe/linear": 60 + effect + moved[seed] + rng.normal(0, noise)})
        for name, effect in effects.items()
        for seed in range(seeds)
    ]


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_the_paired_test_is_scipys(seeds):
    rng = np.random.default_rng(seeds)
    one, two = rng.normal(1, 1, seeds), rng.normal(0, 1, seeds)
    found, known = paired_difference(one, two, 0.05), ttest_rel(one, two)
    interval = known.confidence_interval(0.95)
    assert found.p == pytest.approx(known.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx(float((one - two).mean()))


@pytest.mark.parametrize(("one", "two"), [([1.0], [2.0]), ([1.0, 2.0], [2.0, 3.0]), ([0.3, 0.1], [0.3, 0.1])])
def test_without_spread_nothing_is_claimed(one, two):
    found = paired_difference(one, two, 0.05)
    assert (found.low, found.high, found.p) == (None, None, None)


def test_holm_is_holms():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None, 0.5]) == [0.02, None, 0.5]
    assert holm([None]) == [None]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_adjusting_keeps_the_order_and_never_lowers_a_p(values):
    adjusted = holm(values)
    assert all(p <= after <= 1 for p, after in zip(values, adjusted, strict=True))
    assert adjusted == [after for _, after in zip(values, adjusted, strict=True)]
    by_p = sorted(zip(values, adjusted, strict=True))
    assert [after for _, after in by_p] == sorted(after for _, after in by_p)


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_planted_difference_is_found(seeds):
    rng = np.random.default_rng(0)
    effects = {"base": 0.0, "as good": 0.0, "better": 10.0, "worse": -10.0}
    comparison = compare(SETTING, simulated(rng, effects, seeds, noise=0.5))
    verdicts = {row.variant: row.verdict for row in comparison.rows}
    assert verdicts == {"better": "better", "as good": "not shown", "base": "base", "worse": "worse"}
    assert comparison.rows[0].variant == "better"
    (better,) = (row for row in comparison.rows if row.variant == "better")
    assert better.difference.low < 10 < better.difference.high


def test_less_may_be_better():
    rng = np.random.default_rng(0)
    setting = Setting(name="simulated", metric="probe/linear", base="base", higher_is_better=False)
    comparison = compare(setting, simulated(rng, {"base": 0.0, "less": -10.0}, 4, noise=0.5))
    assert [(row.variant, row.verdict) for row in comparison.rows] == [("less", "better"), ("base", "base")]


def test_pairing_finds_what_the_seeds_would_hide():
    rng = np.random.default_rng(1)
    results = simulated(rng, {"base": 0.0, "better": 2.0}, seeds=5, noise=0.2, of_seeds=10.0)
    comparison = compare(SETTING, results)
    better = next(row for row in comparison.rows if not row.base)
    assert better.spread > 5 * better.difference.mean / 2.5
    assert better.verdict == "better"


@pytest.mark.parametrize(("variants", "seeds"), [(1, 3), (1, 5), (5, 3), (5, 5)])
def test_the_share_of_false_alarms_is_what_the_level_says(variants, seeds):
    """Of 200 studies without any difference; for several variants the share of tables that claim at least one."""
    rng = np.random.default_rng(variants * 100 + seeds)
    effects = {"base": 0.0, **{f"variant {number}": 0.0 for number in range(variants)}}
    alarms = 0
    for _ in range(200):
        comparison = compare(SETTING, simulated(rng, effects, seeds))
        alarms += any(row.verdict in ("better", "worse") for row in comparison.rows)
    # 99.9 % of what a share of exactly 5 % gives; Holm may give less where several differences share a base
    low, high = binom.ppf([0.001, 0.999], 200, SETTING.level)
    assert alarms <= high
    assert alarms >= (low if variants == 1 else 1)


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(1_000):
        found = paired_difference(rng.normal(1.5, 1, 4), rng.normal(0, 1, 4), 0.1)
        covered += found.low <= 1.5 <= found.high
    assert binom.ppf(0.001, 1_000, 0.9) <= covered <= binom.ppf(0.999, 1_000, 0.9)


def test_seeds_that_only_one_of_the_two_has_are_left_out_of_the_difference():
    results = simulated(np.random.default_rng(0), {"base": 0.0, "other": 3.0}, 4)
    comparison = compare(SETTING, [r for r in results if (r.variant, r.seed) not in {("other", 0), ("base", 3)}])
    other = next(row for row in comparison.rows if not row.base)
    assert other.difference.pairs == 2
    assert len(other.values) == 3


def test_a_variant_without_any_value_is_last_and_untested():
    results = simulated(np.random.default_rng(0), {"base": 0.0}, 2)
    failed = [Result(variant="broken", seed=seed, values={}, trouble="failed") for seed in (0, 1)]
    last = compare(SETTING, [*failed, *results]).rows[-1]
    assert (last.variant, last.verdict, last.missing) == ("broken", "untested", (0, 1))
    assert math.isnan(last.mean)
