"""A run's folder, which explains the run to whoever finds it."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from didact.contracts import Report
from didact.errors import RunError
from didact.experiment import Experiment
from didact.identity import goes_on_as
from didact.machine.disk import write_text, writing
from didact.machine.distributed import launch, restarts
from didact.plugins import registry
from didact.record.environment import commit_of
from didact.spec import fingerprint, from_data, to_data

EXPERIMENT = "experiment.json"  # what makes a folder a run's
ATTEMPTS = 10  # to lock a folder, within about a second


class RunFolder:
    """Where everything about one run lies.

    ========================  ================================================================================
    ``README.md``             what this is, how it went, how to go on
    ``experiment.json``       the experiment as data, with everything that the command line changed
    ``experiment.py``         the file that it came from, and what the command line changed
    ``environment.json``      versions, plugins, machine, fingerprints of the data, which weights it began with
    ``metrics.jsonl``         one line for each logged step
    ``events.jsonl``          starts, checkpoints, the end
    ``evaluations/``          what each evaluation found: metrics as JSON, pictures as PNG, sounds as WAV, texts
    ``checkpoints/``          the newest ones
    ``bundles/``              steps that were not finite, to be replayed
    ``left-out.json``         the steps that were left out because they were not finite
    ========================  ================================================================================
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    @classmethod
    def create(
        cls, path: Path, experiment: Experiment, source_file: Path | None, overrides: Mapping[str, str]
    ) -> RunFolder:
        """Makes the folder of a new run.

        Raises:
            RunError: there is a run in it already, or it cannot be written.
        """
        folder = cls(path)
        data = to_data(experiment, registry().name_of)
        with writing("the run's folder", path, mend="choose another folder with --out, or free some space"):
            path.mkdir(parents=True, exist_ok=True)
        with folder.locked():  # two runs of one name may begin in the same second
            if (path / EXPERIMENT).exists():
                resume = f"didact resume {shlex.quote(str(path))}"
                raise RunError(
                    "there is a run in this folder already",
                    where=str(path),
                    mend=f"go on with it by `{resume}`, or choose another folder with --out",
                )
            if source_file is not None:
                with writing("the run's folder", path, mend="choose another folder with --out, or free some space"):
                    shutil.copyfile(source_file, path / "experiment.py")
            write_text(path / "overrides.json", json.dumps(dict(overrides), indent=2) + "\n")
            folder.write_environment({"commit": commit_of(source_file), "launch": launch()})
            write_text(path / EXPERIMENT, json.dumps(data, indent=2) + "\n")  # last: now there is a run
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a run that was started before.

        Raises:
            RunError: there is none.
        """
        if not (path / EXPERIMENT).exists():
            raise RunError(
                "there is no run in this folder", where=str(path), mend="a run's folder has an experiment.json"
            )
        return cls(path)

    def experiment(self) -> Experiment:
        """The experiment, from its data.

        Raises:
            PluginError: a plugin that it needs is missing.
        """
        experiment: Experiment = from_data(self.experiment_data(), Experiment, registry().class_of)
        return experiment

    def experiment_data(self) -> Any:
        """The experiment as plain data.

        Raises:
            RunError: its file is damaged.
        """
        try:
            return json.loads((self.path / EXPERIMENT).read_text())
        except ValueError as error:
            raise RunError(
                f"the run's experiment cannot be read: {error}",
                where=str(self.path / EXPERIMENT),
                mend="put it back as it was; the checkpoint.json of a checkpoint holds it too",
            ) from None

    def begun_by_this_launch(self) -> bool:
        """Whether there is a run, and the launch by ``torchrun`` that this process is of was the last to work on it."""
        known = self.environment().get("launch") if (self.path / EXPERIMENT).exists() else None
        return known is not None and known == launch()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process.

        Raises:
            RunError: another process is running in it.
        """
        with writing("the run's folder", self.path, mend="make it writable, or copy it to where you can write"):
            file = (self.path / ".lock").open("w")
        with file:
            for attempt in range(ATTEMPTS):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if attempt < ATTEMPTS - 1:  # whoever looks whether the run is held holds it for a moment
                        time.sleep(0.02 * (attempt + 1))
            else:
                raise RunError(
                    "another process is running in this folder",
                    where=str(self.path),
                    mend="wait for it, stop it, or start a run of your own",
                ) from None
            yield

    def amend(self, experiment: Experiment, overrides: Mapping[str, str] | None = None) -> None:
        """Replaces the experiment by one that a run of it may go on as; see `didact.identity`.

        Args:
            experiment: to go on as.
            overrides: what the command line changed, for the record.

        Raises:
            RunError: it trains something else.
        """
        if not goes_on_as(self.experiment(), experiment):
            raise RunError(
                "this run is of an experiment that trains something else",
                where=str(self.path),
                mend="start a run of its own; of one that has begun, you can change what judges, watches and labels "
                "it, how a step is computed (micro_batches, parallel, recompute, compile), how often something is "
                "recorded, and nonfinite",
            )
        if overrides:
            changed = {**self._overrides(), **overrides}
            write_text(self.path / "overrides.json", json.dumps(changed, indent=2) + "\n")
        data = to_data(experiment, registry().name_of)
        write_text(self.path / EXPERIMENT, json.dumps(data, indent=2) + "\n")

    def found(self, step: int) -> dict[str, Report]:
        """What the evaluations that the experiment lists, as it lists them, found at a step; metrics alone."""
        reports = {}
        for name, spec in self.experiment_data()["evaluations"].items():
            file = self.path / "evaluations" / f"{name.replace('/', '-')}-{step:08d}.json"
            stored = json.loads(file.read_text()) if file.exists() else {}
            if stored.get("spec") == spec:
                reports[name] = Report(metrics=stored["metrics"])
        return reports

    def _overrides(self) -> dict[str, str]:
        overrides: dict[str, str] = json.loads((self.path / "overrides.json").read_text())
        return overrides

    def environment(self) -> dict[str, Any]:
        """Where the run took place last; nearly empty before its first step."""
        path = self.path / "environment.json"
        recorded: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return recorded

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Records where the run takes place."""
        write_text(self.path / "environment.json", json.dumps(environment, indent=2) + "\n")

    def write_readme(self, outcome: str, step: int, reports: Mapping[str, Report]) -> None:
        """Tells what the run is and how it stands."""
        data = self.experiment_data()
        overrides = self._overrides()
        weights = self.environment().get("weights")
        lines = [
            f"# {data['name']}",
            "",
            f"A run of didact: {outcome} at step {step} of {data['training']['steps']}.",
            f"Experiment `{fingerprint(data)[:12]}`, seed {data['training']['seed']}.",
            "",
        ]
        if weights:
            lines += [f"It began with the {weights['network']} of step {weights['step']} of `{weights['run']}`.", ""]
        if overrides:
            lines += [
                "Changed on the command line:",
                "",
                *(f"- `{key} = {value}`" for key, value in overrides.items()),
                "",
            ]
        for name, report in reports.items():
            if not report.metrics:
                continue
            lines += [f"## {name}", "", "| metric | value |", "| --- | ---: |"]
            lines += [f"| {metric} | {value:.4g} |" for metric, value in report.metrics.items()]
            lines += [""]
        if outcome != "finished":
            stopped = "If no process is running it, it goes on" if outcome == "started" else "It goes on"
            lines += [f"{stopped} with `didact resume {shlex.quote(str(self.path))}`.", ""]
        lines += [
            "`experiment.json` is what ran, `experiment.py` the file it came from, `environment.json` where it ran,",
            "`metrics.jsonl` its curves, `evaluations/` what was found, `checkpoints/` the newest weights.",
            "",
        ]
        write_text(self.path / "README.md", "\n".join(lines))


def new_folder(parent: Path, experiment: Experiment) -> Path:
    """A folder for a new run: the experiment's name, then the moment it started.

    Of a process that ``torchrun`` has restarted: that of the run which the same launch began.
    """
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    place = parent / experiment.name
    if restarts() > 0:
        data = to_data(experiment, registry().name_of)
        runs = [folder for folder in map(RunFolder, place.glob("*")) if folder.begun_by_this_launch()]
        mine = sorted(folder.path for folder in runs if folder.experiment_data() == data)
        if mine:
            return mine[-1]
    path = place / moment
    attempt = 1
    while path.exists():
        attempt += 1
        path = place / f"{moment}-{attempt}"
    return path
