"""Observers: told what happens in a run, unable to harm it."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import shutil
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from didact.contracts import Observer, Report, RunInfo
from didact.errors import DidactError, RunError
from didact.hookspecs import hookimpl
from didact.machine.disk import append_line, write_text, writing
from didact.plugins import lifecycle_manager, registry


class Observers:
    """The observers of one run, in a plugin manager of their own.

    One that raises is switched off, which the run's end tells as a warning; the training goes on. Only where the
    record itself cannot be written does the run end: nobody could tell afterwards what it did.

    Args:
        observers: by name, objects with lifecycle hooks.
        listed: observers that the experiment lists, which are built here.

    Attributes:
        unfit: why some of them do not watch at all: one could not be built, or listens to what is no hook.

    Raises:
        DidactError: one of the listed says by itself why it cannot be built: a mistake to mend before training.
    """

    def __init__(self, observers: Mapping[str, Any], listed: Sequence[Observer] = ()) -> None:
        self.manager = lifecycle_manager()
        self.warnings: list[str] = []
        self.unfit: list[str] = []
        for name, observer in observers.items():
            self._add(name, functools.partial(_same, observer))
        for index, spec in enumerate(listed):
            self._add(_listed_name(spec, index), spec.build)

    def _add(self, name: str, build: Callable[[], Any]) -> None:
        try:
            self.manager.register(build(), name=name)
            self.manager.check_pending()
        except DidactError:
            raise
        except Exception as error:  # foreign code: a run does without this observer
            if self.manager.has_plugin(name):
                self.manager.unregister(name=name)
            self.unfit.append(f"the observer {name!r} cannot be used and is left out: {type(error).__name__}: {error}")

    def notify(self, hook: str, **arguments: Any) -> None:
        """Calls one lifecycle hook of every observer.

        Raises:
            RunError: the run's record cannot be written; the other observers were told nevertheless.
        """
        lost: RunError | None = None
        failures: list[tuple[str, str]] = []
        for implementation in list(reversed(getattr(self.manager.hook, hook).get_hookimpls())):
            try:
                implementation.function(**{name: arguments[name] for name in implementation.argnames})
            except Exception as error:  # foreign code: nothing it does may end a training
                if isinstance(implementation.plugin, Recorder) and isinstance(error, RunError):
                    lost = error
                    continue
                self.manager.unregister(implementation.plugin)
                reason = str(error) if isinstance(error, DidactError) else f"{type(error).__name__}: {error}"
                told = f"the observer {implementation.plugin_name!r} failed in {hook} and is switched off: {reason}"
                failures.append((told, traceback.format_exc()))
        step = arguments["run"].step if "run" in arguments else arguments["step"]
        for told, details in failures:
            self.warn(told, step, details)
        if lost is not None:
            raise lost

    def warn(self, text: str, step: int, details: str = "") -> None:
        """Tells, now and at the run's end, of what went wrong without ending the run.

        Args:
            text: what.
            step: after which.
            details: for the record alone: a traceback.

        Raises:
            RunError: the run's record cannot be written.
        """
        self.warnings.append(text)
        self.notify("run_warned", step=step, text=text, details=details)

    @contextlib.contextmanager
    def threads_told(self) -> Iterator[None]:
        """Has what fails in a thread beside the training, a tracker's say, told as a warning at the run's end."""

        def told(failure: threading.ExceptHookArgs) -> None:
            error = f"{failure.exc_type.__name__}: {failure.exc_value}"
            self.warnings.append(f"a thread failed beside the training, which went on: {error}")

        before, threading.excepthook = threading.excepthook, told
        try:
            yield
        finally:
            threading.excepthook = before


class Recorder:
    """Writes what happens into the run's folder as JSON lines."""

    def __init__(self, folder: Path) -> None:
        self.metrics = folder / "metrics.jsonl"
        self.events = folder / "events.jsonl"
        self.evaluations = folder / "evaluations"
        self._specs: Mapping[str, Any] = {}

    @hookimpl
    def run_started(self, run: RunInfo) -> None:
        """Forgets what was found after the step that the run goes on from; those steps are about to be taken again."""
        self._specs = run.data["evaluations"]
        self._forget_after(run.step)
        self._tell("started", run.step)

    @hookimpl
    def rolled_back(self, step: int) -> None:
        self._forget_after(step)
        self._tell("rolled back", step)

    @hookimpl
    def step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        append_line(self.metrics, json.dumps({"step": step, **metrics}))

    @hookimpl
    def evaluation_finished(self, step: int, name: str, report: Report) -> None:
        folder = self.evaluations / f"{_file_name(name)}-{step:08d}"
        with writing(f"what {name} found", folder):
            self.evaluations.mkdir(exist_ok=True)
            for title, pixels in report.images.items():
                folder.mkdir(exist_ok=True)
                Image.fromarray(pixels.cpu().numpy()).save(folder / f"{_file_name(title)}.png")  # (H, W, 3) uint8
            for title, sound in report.sounds.items():
                folder.mkdir(exist_ok=True)
                (folder / f"{_file_name(title)}.wav").write_bytes(sound.wav())
            for title, text in report.texts.items():
                folder.mkdir(exist_ok=True)
                (folder / f"{_file_name(title)}.txt").write_text(f"{text}\n", encoding="utf-8")
        found = {"step": step, "evaluation": name, "spec": self._specs.get(name), "metrics": dict(report.metrics)}
        write_text(folder.with_name(f"{folder.name}.json"), json.dumps(found, indent=2) + "\n")
        self._tell("evaluation", step, name=name)

    @hookimpl
    def checkpoint_written(self, step: int, folder: str) -> None:
        self._tell("checkpoint", step, folder=Path(folder).name)

    @hookimpl
    def run_warned(self, step: int, text: str, details: str) -> None:
        told = {"text": text, "details": details} if details else {"text": text}
        self._tell("warning", step, **told)

    @hookimpl
    def run_ended(self, outcome: str, step: int) -> None:
        self._tell(outcome, step)

    def _forget_after(self, step: int) -> None:
        if self.metrics.exists():
            kept = [line for line in self.metrics.read_text().splitlines() if _step(line) <= step]
            write_text(self.metrics, "".join(f"{line}\n" for line in kept))
        for file in list(self.evaluations.glob("*-*.json")):
            if int(file.stem.rpartition("-")[2]) > step:
                file.unlink()
                shutil.rmtree(file.with_suffix(""), ignore_errors=True)

    def _tell(self, event: str, step: int, **more: Any) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        append_line(self.events, json.dumps({"event": event, "step": step, **more, "time": now}))


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The metrics of a run, one dictionary for each step that was logged.

    Where the process was killed while it wrote, the last line may be cut off; it is left out.
    """
    return read_lines(folder / "metrics.jsonl")


def decided_by_the_seed(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a step but those of the moment: times and memory, which never are the same twice."""
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "memory/"))}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What a file of JSON lines holds, but for lines that were cut off where the machine went down."""
    read = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            read.append(json.loads(line))
        except ValueError:
            continue
    return read


def _same(value: Any) -> Any:
    return value


def _listed_name(spec: Observer, index: int) -> str:
    """What warnings call an observer of the experiment: its class, its place in the list, and who brings it."""
    plugin = registry().plugin_of(type(spec))
    return f"{type(spec).__name__}-{index}" + (f" of {plugin.owner}" if plugin is not None else "")


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:  # cut off where the machine went down
        return float("inf")


def _file_name(name: str) -> str:
    """A name of ours, ``group/name``, as a file's."""
    return name.replace("/", "-")
