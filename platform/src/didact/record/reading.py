"""A run's folder, read back: what ran, how far it came, what was found."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import attrs

from didact.contracts.network import Network
from didact.errors import RunError
from didact.experiment import Experiment
from didact.record import checkpoint
from didact.record.folder import EXPERIMENT, RunFolder
from didact.record.pretrained import load_network

TAIL_BYTES = 16_384  # hold the last lines of metrics
ENDS = ("stopped", "failed", "finished", "killed")

State = Literal["new", "running", "killed", "stopped", "failed", "finished"]


@attrs.frozen(kw_only=True)
class RunRecord:
    """A run that may have ended, still be running, or have been cut off, as its folder documents it.

    Attributes:
        folder: that holds everything about it.
        data: the experiment as plain data.
    """

    folder: Path
    data: Mapping[str, Any] = attrs.field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The record of the run in a folder; a `RunError` where there is none."""
        return cls(folder=folder, data=RunFolder.open(folder).experiment_data())

    @property
    def experiment(self) -> Experiment:
        """The experiment that ran; needs the plugins of its parts."""
        return RunFolder(self.folder).experiment()

    def network(self, which: Literal["student", "teacher"] = "student", *, step: int | None = None) -> Network:
        """A network that it trained, an ordinary PyTorch module: on the CPU, in evaluation mode.

        Args:
            which: the ``student``, or the ``teacher`` that averages it; the student where the method has no teacher.
            step: of one of its checkpoints; None for the newest.

        Raises:
            DidactError: there is no such checkpoint, it is damaged, or what the network is built from is missing.
        """
        chosen = checkpoint.of_step(RunFolder(self.folder).checkpoints, step)
        checkpoint.verify(chosen)
        experiment = self.experiment
        experiment.source.prepare()
        return load_network(chosen, experiment, which)

    @functools.cached_property
    def environment(self) -> Mapping[str, Any]:
        """Where it ran last: versions, plugins, machine, fingerprints of the data."""
        return RunFolder(self.folder).environment()

    @functools.cached_property
    def metrics(self) -> list[dict[str, float]]:
        """The logged steps, in order."""
        return read_metrics(self.folder)

    @functools.cached_property
    def events(self) -> list[dict[str, Any]]:
        """What happened to it, in order: starts, checkpoints, evaluations, warnings, ends."""
        return read_lines(self.folder / "events.jsonl")

    @property
    def step(self) -> int:
        """The last step that was logged; read from the end of the record, so that it can be asked for often."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return 0
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")[:-1]  # what follows the last newline is cut off
        whole = [line for line in lines if line.startswith('{"step": ')]
        return int(json.loads(whole[-1])["step"]) if whole else 0

    @property
    def steps(self) -> int:
        """The number of steps that it was to take."""
        return int(self.data["training"]["steps"])

    @functools.cached_property
    def state(self) -> State:
        """``killed`` where it neither ended nor is any process running it."""
        if self.held:
            return "running"
        ends = [event["event"] for event in self.events if event["event"] in ("started", *ENDS)]
        if not ends:
            return "new"
        last: State = "killed" if ends[-1] == "started" else ends[-1]
        return last

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
        """The metrics of the experiment's evaluations after the last step, as ``evaluation/metric``."""
        reports = RunFolder(self.folder).found(self.steps)
        return {f"{name}/{metric}": value for name, one in reports.items() for metric, value in one.metrics.items()}

    @property
    def evaluated(self) -> bool:
        """Whether every evaluation of the experiment has its result after the last step."""
        return set(RunFolder(self.folder).found(self.steps)) == set(self.data["evaluations"])


def find_runs(folder: Path) -> list[RunRecord]:
    """The runs in a folder and below it, by their paths; also while runs there write and delete."""
    runs = []
    for place, below, files in os.walk(folder):
        if EXPERIMENT in files:
            below.clear()  # what a run keeps is its own, and comes and goes
            with contextlib.suppress(OSError, RunError):
                runs.append(RunRecord.open(Path(place)))
    return sorted((run for run in runs if isinstance(run.data, dict)), key=lambda run: run.folder)


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The metrics of a run, one dictionary for each logged step; values that were not finite are NaN.

    Where the process was killed while it wrote, the last line may be cut off; it is left out.
    """
    lines = read_lines(folder / "metrics.jsonl")
    return [{name: math.nan if value is None else value for name, value in line.items()} for line in lines]


def decided_by_the_seed(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a step without times and memory, which are never the same twice."""
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "memory/"))}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The content of a file of JSON lines, without lines that were cut off where the machine went down."""
    read = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            read.append(json.loads(line))
        except ValueError:
            continue
    return read
