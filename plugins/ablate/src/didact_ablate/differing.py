"""The differences between two runs: experiment, data, versions, environment, curves and results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from didact.experiment import BESIDE_THE_METHOD
from didact.record import RunRecord
from didact.record.folder import decided_by_the_seed
from didact_ablate.records import curve_of
from didact_ablate.selecting import ABSENT, fields_of

CHANCE = ("command",)  # differs between any two runs, without meaning
ALIKE = 1e-12


def differences(first: RunRecord, second: RunRecord) -> Iterator[str]:
    """Yields the differences as lines, one headed section for each kind of difference."""
    yield f"a: {first.folder}  ({first.data['name']}, {first.state} at step {first.step} of {first.steps})"
    yield f"b: {second.folder}  ({second.data['name']}, {second.state} at step {second.step} of {second.steps})"
    one, other = dict(fields_of(first.data)), dict(fields_of(second.data))
    beside = {field for field in {**one, **other} if field.split(".")[0] in BESIDE_THE_METHOD}
    yield from _section("what they train", _pairs(one, other, leave=beside))
    yield from _section("names, evaluations and observers", _pairs(one, other, keep=beside))
    here, there = first.environment, second.environment
    yield from _section("data", _pairs(_flat(here.get("data")), _flat(there.get("data"))))
    yield from _section("plugins' versions", _pairs(_flat(here.get("plugins")), _flat(there.get("plugins"))))
    nested = {*CHANCE, "data", "plugins"}
    yield from _section("environment", _pairs(_flat(here), _flat(there), leave=nested))
    yield from _section("curves", list(_curves(first, second)))
    results = _pairs({k: f"{v:.6g}" for k, v in first.found.items()}, {k: f"{v:.6g}" for k, v in second.found.items()})
    yield from _section("results", results)


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", f"{title}:", *(f"  {line}" for line in lines)] if lines else ["", f"{title}: the same"]


def _pairs(
    first: Mapping[str, str], second: Mapping[str, str], *, leave: set[str] | None = None, keep: set[str] | None = None
) -> list[str]:
    """Formats each key whose values differ, with both values."""
    keys = [
        key for key in dict.fromkeys([*first, *second]) if key not in (leave or ()) and (keep is None or key in keep)
    ]
    return [
        f"{key}: {first.get(key, ABSENT)} → {second.get(key, ABSENT)}"
        for key in keys
        if first.get(key, ABSENT) != second.get(key, ABSENT)
    ]


def _flat(data: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, Mapping) else {}


def _curves(first: RunRecord, second: RunRecord) -> Iterator[str]:
    """Yields, for each curve, the step at which the runs diverge and both values at the last common step."""
    lines = (*first.metrics[:1], *second.metrics[:1])
    for name in sorted({name for line in lines for name in decided_by_the_seed(line)} - {"step"}):
        one, other = dict(curve_of(first, name)), dict(curve_of(second, name))
        steps = sorted(one.keys() & other.keys())
        if not steps:
            yield f"{name}: no step in common"
            continue
        apart = [step for step in steps if abs(one[step] - other[step]) > ALIKE * max(1.0, abs(one[step]))]
        if apart:
            last = steps[-1]
            yield f"{name}: apart from step {apart[0]} on; at step {last} {one[last]:.6g} → {other[last]:.6g}"
