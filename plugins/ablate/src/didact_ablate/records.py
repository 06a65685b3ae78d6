"""Numbers from a run's record: its cost, and the curve of a metric."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from didact.record import RunRecord


@attrs.frozen(kw_only=True)
class Cost:
    """The cost of a run, summed over all sessions; repeated steps count once.

    Attributes:
        training_seconds: wall-clock time of its steps.
        seconds: wall-clock time of the whole run, including evaluations and starts.
        gpu_hours: wall-clock time multiplied by the number of GPUs; 0 on a CPU.
        peak_gib: the highest memory use of one GPU or of the main process.
    """

    training_seconds: float
    seconds: float
    gpu_hours: float
    peak_gib: float


def cost_of(record: RunRecord) -> Cost:
    """Computes the cost of a run from its record."""
    steps = [0.0, *(line["step"] for line in record.metrics)]
    each = [line["time/step_seconds"] for line in record.metrics]
    training = sum(taken * (step - before) for (before, step), taken in zip(itertools.pairwise(steps), each))  # noqa: B905
    seconds = sum(_seconds(session) for session in _sessions(record.events))
    gpus = 0 if "CPU" in record.environment.get("device", "CPU") else record.environment.get("processes", 1)
    return Cost(
        training_seconds=training,
        seconds=seconds,
        gpu_hours=gpus * seconds / 3600,
        peak_gib=max((line.get("memory/peak_gib", 0.0) for line in record.metrics), default=0.0),
    )


def curve_of(record: RunRecord, name: str) -> list[tuple[int, float]]:
    """Returns the points ``(step, value)`` of a metric such as ``train/loss``, or of an evaluation's metric."""
    logged = [(int(line["step"]), line[name]) for line in record.metrics if name in line]
    evaluation, _, metric = name.partition("/")
    found = []
    for file in (record.folder / "evaluations").glob(f"{evaluation}-*.json"):
        stored = json.loads(file.read_text())
        if stored["evaluation"] == evaluation and metric in stored["metrics"]:
            found.append((int(stored["step"]), float(stored["metrics"][metric])))
    return logged or sorted(found)


def _sessions(events: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Groups the events by the process that wrote them; the first event of a process is its start."""
    session: list[Mapping[str, Any]] = []
    for event in events:
        if event["event"] == "started" and session:
            yield session
            session = []
        session.append(event)
    if session:
        yield session


def _seconds(session: Sequence[Mapping[str, Any]]) -> float:
    moments = [datetime.datetime.fromisoformat(event["time"]) for event in session if "time" in event]
    return (moments[-1] - moments[0]).total_seconds() if moments else 0.0
