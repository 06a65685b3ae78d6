"""Comparison of runs: each variant's mean and spread over seeds, and its paired difference to the base."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs

from didact import DataError
from didact.errors import did_you_mean
from didact.record import RunRecord
from didact_ablate.records import Cost, cost_of
from didact_ablate.statistics import Difference, holm, paired_difference

Verdict = Literal["base", "better", "worse", "not shown", "untested"]


@attrs.frozen(kw_only=True)
class Setting:
    """What a comparison compares, and how.

    Attributes:
        name: the name of the study or of the set of runs.
        metric: the deciding metric: ``evaluation/metric`` or ``group/metric``.
        higher_is_better: whether a higher value of the metric is better.
        level: the accepted rate of false alarms over the whole table.
        also: further metrics, shown beside the deciding one.
        base: the variant that the others are compared with.
        control: a metric of the same run that the deciding metric must improve on; None without a control.
    """

    name: str
    metric: str
    higher_is_better: bool = True
    level: float = 0.05
    also: tuple[str, ...] = ()
    base: str
    control: str | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics that are read from a run, the deciding one first."""
        return tuple(dict.fromkeys((self.metric, *self.also, *([self.control] if self.control else []))))


@attrs.frozen(kw_only=True)
class Result:
    """The result of one run.

    Attributes:
        variant: the name of the run's variant.
        seed: the seed of the run.
        values: ``metric → value`` of the compared metrics that the run has.
        folder: the folder of the run.
        cost: the time and memory that the run took.
        trouble: why there is no value; empty if there is one.
    """

    variant: str
    seed: int
    values: Mapping[str, float]
    folder: Path = Path()
    cost: Cost | None = None
    trouble: str = ""

    @property
    def begun(self) -> bool:
        """Whether the run exists."""
        return (self.folder / "experiment.json").exists()


@attrs.frozen(kw_only=True)
class Row:
    """One variant in the table.

    Attributes:
        variant: the variant's name.
        base: whether this variant is the base.
        values: ``seed → value`` of the deciding metric.
        missing: the seeds without a value.
        mean: the mean of the values; NaN without values.
        spread: the standard deviation of the values over seeds; None with fewer than two.
        difference: the difference to the base over the seeds that both have; None for the base, and without such seeds.
        p: the p-value of the difference, adjusted for the number of variants (Holm); None if it was not tested.
        verdict: the outcome of the test in one word.
        also: ``metric → (mean, standard deviation or None)`` of further metrics.
        ahead: the metric minus the control of the same run, in the direction that is better, as (mean, standard
            deviation or None); None without a control, or if no run has both.
        training_seconds: the mean wall-clock time of training; None if it is not known.
        seconds: the mean wall-clock time of the whole run.
        gpu_hours: the mean number of GPU hours.
        peak_gib: the highest memory use of any run, in GiB.
    """

    variant: str
    base: bool
    values: Mapping[int, float]
    missing: tuple[int, ...]
    mean: float
    spread: float | None
    difference: Difference | None
    p: float | None
    verdict: Verdict
    also: Mapping[str, tuple[float, float | None]]
    ahead: tuple[float, float | None] | None = None
    training_seconds: float | None = None
    seconds: float | None = None
    gpu_hours: float | None = None
    peak_gib: float | None = None


@attrs.frozen(kw_only=True)
class Comparison:
    """A table of variants, best first.

    Attributes:
        setting: what was compared, and how.
        rows: the variants, best mean first; variants without a value come last.
    """

    setting: Setting
    rows: tuple[Row, ...]

    @property
    def base(self) -> Row:
        """The base's row."""
        return next(row for row in self.rows if row.base)

    @property
    def behind(self) -> tuple[str, ...]:
        """The variants whose mean is no better than the mean of their control, which shows no learning."""
        return tuple(row.variant for row in self.rows if row.ahead is not None and row.ahead[0] <= 0)

    @property
    def tested(self) -> int:
        """The number of differences that were tested."""
        return sum(row.p is not None for row in self.rows)


def result_of(record: RunRecord, variant: str, metrics: Sequence[str]) -> Result:
    """Reads the result of a run; only a run that took all its steps has values."""
    values: dict[str, float] = {}
    trouble: str = "" if record.state == "finished" else record.state
    if not trouble:
        last = record.metrics[-1] if record.metrics else {}
        values = {name: known[name] for name in metrics for known in (last, record.found) if name in known}
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        trouble = "" if metrics[0] in values else f"no {metrics[0]}"
    return Result(
        variant=variant,
        seed=record.data["training"]["seed"],
        values=values,
        folder=record.folder,
        cost=cost_of(record),
        trouble=trouble,
    )


def compare(setting: Setting, results: Sequence[Result]) -> Comparison:
    """Compares variants over seeds.

    Args:
        setting: what is compared, and how.
        results: the results of all runs, at most one for each variant and seed.

    Raises:
        DataError: the base has no result, or a variant has two results for one seed.
    """
    variants: dict[str, list[Result]] = {}
    for result in results:
        others = variants.setdefault(result.variant, [])
        if any(other.seed == result.seed for other in others):
            raise DataError(
                f"there are two runs of {result.variant!r} with seed {result.seed}",
                where=f"{next(other for other in others if other.seed == result.seed).folder} and {result.folder}",
                hint="compare one of the two",
            )
        others.append(result)
    if setting.base not in variants:
        raise DataError(f"there is no run of the base {setting.base!r}", hint=did_you_mean(setting.base, variants))
    base = _values(variants[setting.base], setting.metric)
    differences = {
        name: _difference(_values(members, setting.metric), base, setting.level)
        for name, members in variants.items()
        if name != setting.base
    }
    tested = [None if found is None else found.p for found in differences.values()]
    adjusted = dict(zip(differences, holm(tested), strict=True))
    rows = [
        _row(setting, name, members, differences.get(name), adjusted.get(name)) for name, members in variants.items()
    ]
    sign = -1 if setting.higher_is_better else 1
    rows.sort(key=lambda row: (math.isnan(row.mean), 0.0 if math.isnan(row.mean) else sign * row.mean))
    return Comparison(setting=setting, rows=tuple(rows))


def _values(members: Sequence[Result], metric: str) -> dict[int, float]:
    return {member.seed: member.values[metric] for member in members if metric in member.values}


def _difference(values: Mapping[int, float], base: Mapping[int, float], level: float) -> Difference | None:
    seeds = sorted(values.keys() & base.keys())
    if not seeds:
        return None
    return paired_difference([values[seed] for seed in seeds], [base[seed] for seed in seeds], level)


def _row(setting: Setting, name: str, members: Sequence[Result], difference: Difference | None, p: float | None) -> Row:
    values = dict(sorted(_values(members, setting.metric).items()))
    costs = [member.cost for member in members if member.cost is not None and not member.trouble]
    verdict: Verdict = "base" if name == setting.base else "untested"
    if p is not None and difference is not None:
        up = (difference.mean > 0) == setting.higher_is_better
        verdict = ("better" if up else "worse") if p < setting.level else "not shown"
    return Row(
        variant=name,
        base=name == setting.base,
        values=values,
        missing=tuple(sorted(member.seed for member in members if setting.metric not in member.values)),
        mean=statistics.fmean(values.values()) if values else math.nan,
        spread=_spread(values.values()),
        difference=difference,
        p=p,
        verdict=verdict,
        also={metric: _mean_and_spread(_values(members, metric)) for metric in setting.also},
        ahead=_ahead(setting, members),
        training_seconds=statistics.fmean(cost.training_seconds for cost in costs) if costs else None,
        seconds=statistics.fmean(cost.seconds for cost in costs) if costs else None,
        gpu_hours=statistics.fmean(cost.gpu_hours for cost in costs) if costs else None,
        peak_gib=max(cost.peak_gib for cost in costs) if costs else None,
    )


def _ahead(setting: Setting, members: Sequence[Result]) -> tuple[float, float | None] | None:
    """The metric minus the control, in the direction that is better, over the runs that have both."""
    if setting.control is None:
        return None
    values, controls = (_values(members, metric) for metric in (setting.metric, setting.control))
    sign = 1 if setting.higher_is_better else -1
    gains = {seed: sign * (values[seed] - controls[seed]) for seed in values.keys() & controls.keys()}
    return _mean_and_spread(gains) if gains else None


def _mean_and_spread(values: Mapping[int, float]) -> tuple[float, float | None]:
    return (statistics.fmean(values.values()) if values else math.nan), _spread(values.values())


def _spread(values: Collection[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
