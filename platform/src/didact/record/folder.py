"""A run's folder, which documents the run."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import itertools
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from didact.errors import RunError
from didact.experiment import HOW_COMPUTED, Experiment, Report, continues
from didact.machine.disk import digest, write_text, writing
from didact.machine.distributed import launch, restarts
from didact.plugins import registry
from didact.serialization import fingerprint
from didact.spec import FIELDS

EXPERIMENT = "experiment.json"
ASSETS, DIGESTS = "assets", "digests.json"
ATTEMPTS = 10  # to lock a folder, within about a second
ELSEWHERE = "choose another folder with --out, or free some space"
FILES = """\
`experiment.json` is the experiment that ran, `experiment.py` the file that it came from, `environment.json` where it
ran, `metrics.jsonl` its curves, `evaluations/` their results, `checkpoints/` the newest weights, `assets/` files of its
source, such as a tokenizer.
"""


class RunFolder:
    """The folder that holds everything about one run.

    ``experiment.json`` marks a run's folder and holds the experiment as data, including changes on the command line,
    which ``overrides.json`` lists. ``environment.json`` holds versions, plugins, machine and fingerprints of the data;
    ``metrics.jsonl`` has a line for each logged step; ``events.jsonl`` has starts, checkpoints, warnings and the end;
    ``left-out.json`` has the steps that were left out because they were not finite. ``README.md`` explains the rest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    @classmethod
    def create(
        cls,
        path: Path,
        experiment: Experiment,
        source_file: Path | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> RunFolder:
        """Creates the folder of a new run; the arguments are those of `didact.run.start`.

        Raises:
            RunError: the folder already holds a run, or cannot be written.
        """
        folder = cls(path)
        with writing("the run's folder", path, hint=ELSEWHERE):
            path.mkdir(parents=True, exist_ok=True)
            with folder.locked():  # two runs of one name may start in the same second
                if (path / EXPERIMENT).exists():
                    hint = f"resume it with `didact resume {shlex.quote(str(path))}`, or choose another one with --out"
                    raise RunError("there is a run in this folder already", where=str(path), hint=hint)
                if source_file is not None:
                    shutil.copyfile(source_file, path / "experiment.py")
                folder.write("overrides.json", dict(overrides or {}))
                folder.write("environment.json", {"commit": _commit_of(source_file), "launch": launch()})
                folder.write(EXPERIMENT, registry().data_of(experiment))  # last: it marks the folder as a run's
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Opens the folder of an existing run; raises a `RunError` if there is none."""
        if not (path / EXPERIMENT).exists():
            hint = f"the folder of a run holds {EXPERIMENT}"
            raise RunError(f"there is no run in {path}", where=str(path.absolute()), hint=hint)
        return cls(path)

    def experiment(self) -> Experiment:
        """Reads the experiment; a `DidactError` if a plugin is missing or an earlier version of didact wrote it."""
        data = self.experiment_data()
        renamed = [f"{name} is {now} now" for name, now in FIELDS.items() if name in data["training"]]
        if renamed:
            what = "the run was made by an earlier version of didact, and this one cannot resume it"
            raise RunError(what, where=str(self.path / EXPERIMENT), hint="; ".join(renamed))
        experiment: Experiment = registry().from_data(data, Experiment)
        return experiment

    def own_experiment(self) -> Experiment:
        """Reads the experiment; its source takes its assets from this folder."""
        experiment = self.experiment()
        return experiment.evolve(source=experiment.source.with_assets(self.assets()))

    def experiment_data(self) -> Any:
        """Reads the experiment as plain data; raises a `RunError` if its file is damaged."""
        try:
            return self._read(EXPERIMENT)
        except ValueError as error:
            hint = "restore it; the checkpoint.json of a checkpoint holds it too"
            what = f"the run's experiment cannot be read: {error}"
            raise RunError(what, where=str(self.path / EXPERIMENT), hint=hint) from None

    def begun_by_this_launch(self) -> bool:
        """Returns whether the folder's run was last executed by the ``torchrun`` launch that started this process."""
        known = self.environment().get("launch") if (self.path / EXPERIMENT).exists() else None
        return known is not None and known == launch()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the folder for this process; raises a `RunError` if another process is running in it."""
        with writing("the run's folder", self.path, hint="make it writable, or copy it to where you can write"):
            file = (self.path / ".lock").open("w")
        with file:
            for attempt in range(ATTEMPTS):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    time.sleep(0.02 * (attempt + 1))  # checking whether a run is active locks it for a moment
            else:
                hint = "wait for it, stop it, or start a run of your own"
                raise RunError("another process is running in this folder", where=str(self.path), hint=hint)
            yield

    def amend(self, experiment: Experiment, overrides: Mapping[str, str] | None = None) -> None:
        """Replaces the experiment, for example to add evaluations, which `didact.run.resume` then runs.

        Args:
            experiment: the new experiment; the run must be resumable with it, see `didact.experiment`.
            overrides: the changes on the command line, for the record.

        Raises:
            RunError: the new experiment trains something else, or another process is running the run.
        """
        data = json.loads(json.dumps(registry().data_of(experiment)))
        with self.locked():
            if not continues(self.experiment_data(), data):
                what, how = "this run is of an experiment that trains something else", ", ".join(HOW_COMPUTED)
                hint = f"start a run of its own; in this one, evaluations, observers, labels, nonfinite, {how}"
                raise RunError(
                    what, where=str(self.path), hint=f"{hint} and how often something is recorded can change"
                )
            if overrides:
                self.write("overrides.json", {**self._read("overrides.json"), **overrides})
            self.write(EXPERIMENT, data)

    def keep(self, assets: Mapping[str, Path]) -> None:
        """Copies the assets of a run's source into the folder, unless it has them."""
        place = self.path / ASSETS
        if not assets or (place / DIGESTS).exists():
            return
        with writing("the source's assets", place, hint=ELSEWHERE):
            place.mkdir(exist_ok=True)
            for name, path in assets.items():
                shutil.copyfile(path, place / name)
        self.write(f"{ASSETS}/{DIGESTS}", {name: digest(place / name) for name in assets})

    def assets(self) -> dict[str, Path]:
        """Returns the kept assets by name; raises a `RunError` if one differs from what was kept."""
        kept = self._read(f"{ASSETS}/{DIGESTS}") if (self.path / ASSETS / DIGESTS).exists() else {}
        paths = {name: self.path.absolute() / ASSETS / Path(name).name for name in kept}
        for name, path in paths.items():
            if not path.exists() or digest(path) != kept[name]:
                raise RunError(f"{name} is not what the run kept", where=str(path), hint="restore a copy of the run")
        return paths

    def found(self, step: int, final: bool = False) -> dict[str, Report]:
        """Returns the metrics of the experiment's evaluations at a step, if their settings have not changed.

        ``final`` returns only evaluations after the end of training, which may include controls.
        """
        reports = {}
        for name, spec in self.experiment_data()["evaluations"].items():
            file = self.path / "evaluations" / f"{name.replace('/', '-')}-{step:08d}.json"
            stored = json.loads(file.read_text()) if file.exists() else {}
            if stored.get("spec") == spec and (stored["final"] or not final):
                reports[name] = Report(metrics=stored["metrics"])
        return reports

    def evaluated(self) -> set[int]:
        """Returns the steps that have the result of an evaluation."""
        return {int(path.stem.rpartition("-")[2]) for path in (self.path / "evaluations").glob("*-*.json")}

    def environment(self) -> dict[str, Any]:
        """Returns the environment in which the run was last executed; nearly empty before the first step."""
        recorded: dict[str, Any] = self._read("environment.json") if (self.path / "environment.json").exists() else {}
        return recorded

    def write_readme(self, outcome: str, step: int, reports: Mapping[str, Report]) -> None:
        """Writes a README that describes the run and its state."""
        data, weights = self.experiment_data(), self.environment().get("weights")
        lines = [f"# {data['name']}", "", f"A didact run: {outcome} at step {step} of {data['training']['steps']}."]
        lines += [f"Experiment `{fingerprint(data)[:12]}`, seed {data['training']['seed']}.", ""]
        if weights:
            lines += [f"It started from the {weights['network']} of step {weights['step']} of `{weights['run']}`.", ""]
        if overrides := self._read("overrides.json"):
            changes = [f"- `{key} = {value}`" for key, value in overrides.items()]
            lines += ["Changed on the command line:", "", *changes, ""]
        for name, metrics in ((name, report.metrics) for name, report in reports.items() if report.metrics):
            rows = [f"| {metric} | {value:.4g} |" for metric, value in metrics.items()]
            lines += [f"## {name}", "", "| metric | value |", "| --- | ---: |", *rows, ""]
        if outcome == "finished" and step < data["training"]["steps"]:
            best, patience = data["training"]["keep_best"], data["training"]["patience"]
            lines += [f"It ended early: `{best}` did not improve for {patience} values (`training.patience`).", ""]
        if outcome != "finished":
            condition = "If no process is running it, resume" if outcome == "started" else "Resume"
            lines += [f"{condition} it with `didact resume {shlex.quote(str(self.path))}`.", ""]
        write_text(self.path / "README.md", "\n".join([*lines, FILES]))

    def _read(self, name: str) -> Any:
        return json.loads((self.path / name).read_text())

    def write(self, name: str, data: Any) -> None:
        """Replaces a JSON file."""
        write_text(self.path / name, json.dumps(data, indent=2) + "\n")


def new_folder(parent: Path, experiment: Experiment) -> Path:
    """Returns the path of a new run's folder: the experiment's name, then the time of the start.

    In a process that ``torchrun`` has restarted, this is the folder of the run that the same launch started.
    """
    place = parent / experiment.name
    if restarts() > 0:
        data = registry().data_of(experiment)
        runs = [folder for folder in map(RunFolder, place.glob("*")) if folder.begun_by_this_launch()]
        mine = sorted(folder.path for folder in runs if folder.experiment_data() == data)
        if mine:
            return mine[-1]
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    names = (f"{moment}-{attempt}" if attempt > 1 else moment for attempt in itertools.count(1))
    return next(place / name for name in names if not (place / name).exists())


def environment_of(device: torch.device, precision: torch.dtype) -> dict[str, Any]:
    """Describes this process's environment as plain data; matrix products on ``device`` are in ``precision``."""
    installed: Mapping[str, str] = {p.name: p.owner for p in registry().plugins if not (p.failure or p.skipped)}
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "plugins": installed,
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": str(precision).removeprefix("torch."),
        "command": sys.argv,
        "launch": launch(),
    }


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Reads the metrics of a run, one dictionary for each logged step; values that were not finite are NaN.

    If the process was killed while writing, the last line may be incomplete; such a line is left out.
    """
    lines = read_lines(folder / "metrics.jsonl")
    return [{name: math.nan if value is None else value for name, value in line.items()} for line in lines]


def decided_by_the_seed(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics of a step without times and memory, which differ between repetitions."""
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "memory/"))}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file of JSON lines, without lines that are incomplete because the machine crashed."""
    read = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            read.append(json.loads(line))
    return read


def _commit_of(source_file: Path | None) -> str | None:
    """Returns the commit of the repository that holds the experiment's file, marked if files differ from it."""
    if source_file is None:
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    folder = source_file.resolve().parent
    try:
        described = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
