"""What a run's folder says, read back: what ran, how far it came, what was found, what it cost."""

from __future__ import annotations

import datetime
import fcntl
import functools
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import attrs

from didact.errors import RunError
from didact.experiment import Experiment
from didact.learner import Network, build_learner
from didact.record.folder import EXPERIMENT, RunFolder
from didact.record.observing import read_lines, read_metrics

if TYPE_CHECKING:
    from didact.record.checkpoint import Checkpoint

TAIL_BYTES = 16_384  # hold the last lines of metrics

State = Literal["new", "running", "killed", "stopped", "failed", "finished"]


@attrs.frozen(kw_only=True)
class Cost:
    """What a run took, over all the times that it was resumed; steps that were taken again count once.

    Attributes:
        training_seconds: wall clock of its steps.
        seconds: wall clock of all of it, evaluations and starts included.
        gpu_hours: wall clock times the GPUs that it held; 0 on a CPU.
        peak_gib: the most memory that was in use, of one GPU or of the main process.
    """

    training_seconds: float
    seconds: float
    gpu_hours: float
    peak_gib: float


@attrs.frozen(kw_only=True)
class RunRecord:
    """A run that may be over, on its way, or cut off, as its folder tells.

    Attributes:
        folder: where everything about it lies.
        data: the experiment as plain data.
    """

    folder: Path
    data: Mapping[str, Any] = attrs.field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The record of the run in a folder.

        Raises:
            RunError: there is none.
        """
        return cls(folder=folder, data=RunFolder.open(folder).experiment_data())

    @property
    def experiment(self) -> Experiment:
        """What ran, as specs; needs the plugins that it was composed of."""
        return RunFolder(self.folder).experiment()

    def network(self, which: Literal["student", "teacher"] = "student", *, step: int | None = None) -> Network:
        """A network that it trained, an ordinary PyTorch module: on the CPU, in evaluation mode.

        Args:
            which: the ``student``, or the ``teacher`` that averages it; the student where the method has no teacher.
            step: of one of its checkpoints; None for the newest.

        Raises:
            RunError: there is no such checkpoint, it is damaged, or it holds another network.
            DidactError: what the network is built from cannot be found: a plugin, or the data of a tokenizer.
        """
        from didact.record import (
            checkpoint,  # here: whoever looks at records alone need not wait for PyTorch's part of it
        )

        stored = {one.step: one for one in checkpoint.all_complete(RunFolder(self.folder).checkpoints)}
        if not stored:
            raise RunError("the run has no checkpoint yet", where=str(self.folder), mend="wait for its first one")
        if step is not None and step not in stored:
            kept = ", ".join(map(str, stored))
            raise RunError(f"there is no checkpoint of step {step}", where=str(self.folder), mend=f"take one of {kept}")
        chosen = stored[max(stored) if step is None else step]
        checkpoint.verify(chosen)
        experiment = self.experiment
        experiment.source.prepare()
        return load_network(chosen, experiment, which)

    @functools.cached_property
    def environment(self) -> Mapping[str, Any]:
        """Where it took place last: versions, plugins, machine, fingerprints of the data."""
        return RunFolder(self.folder).environment()

    @functools.cached_property
    def metrics(self) -> list[dict[str, float]]:
        """The logged steps, in order."""
        return read_metrics(self.folder)

    @property
    def step(self) -> int:
        """The last step that was logged; read from the end of the record, so that asking often costs little."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return 0
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
        whole = [
            line for line in lines[:-1] if line.startswith('{"step": ')
        ]  # what follows the last newline is cut off
        return int(json.loads(whole[-1])["step"]) if whole else 0

    @property
    def steps(self) -> int:
        """How many it was to take."""
        return int(self.data["training"]["steps"])

    @property
    def seed(self) -> int:
        """Of everything random in it."""
        return int(self.data["training"]["seed"])

    @property
    def labels(self) -> Mapping[str, str | int | float]:
        """What it is known by, such as its study."""
        labels: Mapping[str, str | int | float] = self.data.get("labels", {})
        return labels

    @functools.cached_property
    def state(self) -> State:
        """How it stands: ``killed`` where it neither ended nor is any process running it."""
        if self.held:
            return "running"
        events = [event["event"] for event in self._events]
        ends = [event for event in events if event in ("started", "stopped", "failed", "finished", "killed")]
        if not ends:
            return "new"
        last: State = "killed" if ends[-1] == "started" else ends[-1]
        return last

    @property
    def closed(self) -> bool:
        """Whether its record has an end: not while it is running, nor where it was killed and nobody noticed."""
        return bool(self._events) and self._events[-1]["event"] in ("stopped", "failed", "finished", "killed")

    @property
    def held(self) -> bool:
        """Whether a process of this machine is running it."""
        lock = self.folder / ".lock"
        if not lock.exists():
            return False
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    @functools.cached_property
    def found(self) -> dict[str, float]:
        """What the evaluations that the experiment lists found after the last step, as ``evaluation/metric``."""
        return {
            f"{name}/{metric}": value
            for name, report in RunFolder(self.folder).found(self.steps).items()
            for metric, value in report.metrics.items()
        }

    @property
    def judged(self) -> bool:
        """Whether every evaluation that the experiment lists has had its last word."""
        return set(RunFolder(self.folder).found(self.steps)) == set(self.data["evaluations"])

    def during(self, name: str) -> list[tuple[int, float]]:
        """A number on its way, ``(step, value)``: a metric such as ``train/loss``, or one of an evaluation."""
        logged = [(int(line["step"]), line[name]) for line in self.metrics if name in line]
        evaluation, _, metric = name.partition("/")
        found = []
        for file in (self.folder / "evaluations").glob(f"{evaluation}-*.json"):
            stored = json.loads(file.read_text())
            if stored["evaluation"] == evaluation and metric in stored["metrics"]:
                found.append((int(stored["step"]), float(stored["metrics"][metric])))
        return logged or sorted(found)

    @property
    def warnings(self) -> list[str]:
        """What went wrong without ending it."""
        return [event["text"] for event in self._events if event["event"] == "warning"]

    @property
    def cost(self) -> Cost:
        """What it took."""
        steps = [0.0, *(line["step"] for line in self.metrics)]
        each = [line["time/step_seconds"] for line in self.metrics]
        training = sum(taken * (step - before) for (before, step), taken in zip(itertools.pairwise(steps), each))  # noqa: B905
        seconds = sum(_seconds(session) for session in _sessions(self._events))
        gpus = 0 if "CPU" in self.environment.get("device", "CPU") else self.environment.get("processes", 1)
        return Cost(
            training_seconds=training,
            seconds=seconds,
            gpu_hours=gpus * seconds / 3600,
            peak_gib=max((line.get("memory/peak_gib", 0.0) for line in self.metrics), default=0.0),
        )

    @functools.cached_property
    def _events(self) -> list[dict[str, Any]]:
        return read_lines(self.folder / "events.jsonl")


def load_network(stored: Checkpoint, experiment: Experiment, which: Literal["student", "teacher"]) -> Network:
    """A network out of a checkpoint: on the CPU, in evaluation mode; on several processes, all load it together.

    Args:
        stored: the checkpoint, whose files are taken for whole.
        experiment: that it was trained by.
        which: the ``student``, or the ``teacher`` that averages it; the student where the method has no teacher.

    Raises:
        RunError: the checkpoint holds another network.
    """
    from didact.record import checkpoint  # here: see `RunRecord.network`

    learner = build_learner(experiment)
    checkpoint.load(stored, learner)
    network = learner.network if which == "student" else learner.targets.subject(learner.network)
    return network.eval()


def find_runs(folder: Path) -> list[RunRecord]:
    """The runs in a folder and below it, by their paths; also while runs there write and delete."""
    return [RunRecord.open(path) for path in sorted(_run_folders(folder)) if _readable(path / EXPERIMENT)]


def _run_folders(folder: Path) -> Iterator[Path]:
    for place, below, files in os.walk(folder):
        if EXPERIMENT in files:
            yield Path(place)
            below.clear()  # what a run keeps is its own, and comes and goes


def _readable(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text()), dict)
    except (OSError, ValueError):
        return False


def _sessions(events: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The events of each process that worked on the run; a process's first event is that it started."""
    session: list[dict[str, Any]] = []
    for event in events:
        if event["event"] == "started" and session:
            yield session
            session = []
        session.append(event)
    if session:
        yield session


def _seconds(session: list[dict[str, Any]]) -> float:
    moments = [datetime.datetime.fromisoformat(event["time"]) for event in session if "time" in event]
    return (moments[-1] - moments[0]).total_seconds() if moments else 0.0
