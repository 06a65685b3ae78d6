"""Calls the observers of a run, of which a failing one does not end the run, and writes the run's record."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import shutil
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from didact.contracts.running import RunInfo
from didact.errors import DidactError, RunError
from didact.experiment import Observer, Report
from didact.hookspecs import Lifecycle, hookimpl
from didact.machine.disk import append_line, write_text, writing
from didact.plugins import registry
from didact.record.folder import read_lines

RECORDER = "recorder"  # the observer that writes the run's record


class Observers:
    """The observers of one run, in a separate plugin manager.

    An observer that raises an error is switched off with a warning, and training continues. The run ends only if the
    run's record cannot be written, because the run would not be documented.

    Args:
        observers: ``name → object`` with lifecycle hooks.
        listed: the observers that the experiment lists; they are built here.

    Attributes:
        unfit: why some observers are not used: they could not be built, or implement unknown hooks.

    Raises:
        DidactError: a listed observer reports why it cannot be built, so that the user can fix this before training.
    """

    def __init__(self, observers: Mapping[str, Any], listed: Sequence[Observer] = ()) -> None:
        self.manager = pluggy.PluginManager("didact")
        self.manager.add_hookspecs(Lifecycle)
        self.warnings: list[str] = []
        self.unfit: list[str] = []
        named = dict(observers)
        for index, spec in enumerate(listed):
            name = registry().name_of(type(spec))
            owner = f" of {registry().components[name][0].owner}" if name else ""
            named[f"{type(spec).__name__}-{index}{owner}"] = spec
        for name, observer in named.items():
            try:
                self._register(name, observer.build() if isinstance(observer, Observer) else observer)
            except DidactError:
                raise
            except Exception as error:  # foreign code: the run continues without this observer
                if self.manager.has_plugin(name):
                    self.manager.unregister(name=name)
                reason = f"{type(error).__name__}: {error}"
                self.unfit.append(f"the observer {name!r} cannot be used and is left out: {reason}")

    def _register(self, name: str, observer: Any) -> None:
        self.manager.register(observer, name=name)
        self.manager.check_pending()
        for caller in self.manager.get_hookcallers(observer) or ():
            for hook in caller.get_hookimpls():
                if hook.plugin is observer and (hook.wrapper or hook.hookwrapper):
                    raise TypeError(f"{hook.function.__name__} is a wrapper, which lifecycle hooks do not have")

    def notify(self, hook: str, **arguments: Any) -> list[Any]:
        """Calls one lifecycle hook of every observer and returns the answers. Failures become warnings.

        Raises:
            RunError: the run's record cannot be written; the other observers were still called.
            DidactError: an observer rejects a run (``run_prepared``) or explains a failed step (``step_failed``).
        """
        answers, failures, lost = [], [], None
        for implementation in list(reversed(getattr(self.manager.hook, hook).get_hookimpls())):
            name = implementation.plugin_name
            try:
                answers.append(implementation.function(**{key: arguments[key] for key in implementation.argnames}))
            except Exception as error:  # foreign code: its errors must not end the training
                mistake = isinstance(error, DidactError)
                if mistake and hook in ("run_prepared", "step_failed"):
                    raise
                if name == RECORDER and isinstance(error, RunError):
                    lost = error
                    continue
                self.manager.unregister(implementation.plugin)
                reason = str(error) if mistake else f"{type(error).__name__}: {error}"
                text = f"the observer {name!r} failed in {hook} and is switched off: {reason}"
                failures.append((text, traceback.format_exc()))
        for text, details in failures:
            if hook == "run_prepared":  # the run's record does not exist yet
                self.unfit.append(text)
            elif hook == "step_failed":
                self.warn(text, arguments["failure"].step - 1, details)
            else:
                self.warn(text, arguments["run"].step if hook == "run_started" else arguments["step"], details)
        if lost is not None:
            raise lost
        return [answer for answer in answers if answer]

    def warn(self, text: str, step: int, details: str = "") -> None:
        """Reports a problem after ``step`` that does not end the run, immediately and at the end of the run.

        ``details``, such as a traceback, are only recorded.

        Raises:
            RunError: the run's record cannot be written.
        """
        self.warnings.append(text)
        self.notify("run_warned", step=step, text=text, details=details)

    @contextlib.contextmanager
    def watching_threads(self) -> Iterator[None]:
        """Converts the failure of a background thread, such as a tracker's, to a warning at the end of the run."""

        def failed(failure: threading.ExceptHookArgs) -> None:
            error = f"{failure.exc_type.__name__}: {failure.exc_value}"
            self.warnings.append(f"a thread failed beside the training, which continued: {error}")

        before, threading.excepthook = threading.excepthook, failed
        try:
            yield
        finally:
            threading.excepthook = before


class Recorder:
    """Writes metrics, events and evaluations into the run's folder."""

    def __init__(self, folder: Path) -> None:
        self.metrics = folder / "metrics.jsonl"
        self.events = folder / "events.jsonl"
        self.evaluations = folder / "evaluations"
        self._specs: Mapping[str, Any] = {}
        self._steps = 0

    @hookimpl
    def run_started(self, run: RunInfo) -> None:
        """Discards records of steps after the step from which the run starts, because these steps are repeated."""
        self._specs, self._steps = run.data["evaluations"], run.data["training"]["steps"]
        self._discard_after(run.step)
        self._event("started", run.step)

    @hookimpl
    def rolled_back(self, step: int) -> None:
        self._discard_after(step)
        self._event("rolled back", step)

    @hookimpl
    def step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        # JSON has no numbers that are not finite
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        append_line(self.metrics, json.dumps({"step": step, **finite}))

    @hookimpl
    def evaluation_finished(self, step: int, name: str, report: Report, final: bool) -> None:
        folder = self.evaluations / f"{_file_name(name)}-{step:08d}"
        with writing(f"the result of {name}", folder):
            self.evaluations.mkdir(exist_ok=True)
            for title, content in report.files.items():
                folder.mkdir(exist_ok=True)
                (folder / _file_name(title)).write_bytes(content)
        found = {"step": step, "evaluation": name, "spec": self._specs.get(name), "final": final}
        found["metrics"] = dict(report.metrics)
        write_text(folder.with_name(f"{folder.name}.json"), json.dumps(found, indent=2) + "\n")
        self._event("evaluation", step, name=name)

    @hookimpl
    def checkpoint_written(self, step: int, folder: str) -> None:
        self._event("checkpoint", step, folder=Path(folder).name)

    @hookimpl
    def run_warned(self, step: int, text: str, details: str) -> None:
        self._event("warning", step, text=text, **({"details": details} if details else {}))

    @hookimpl
    def run_ended(self, outcome: str, step: int) -> None:
        early = outcome == "finished" and step < self._steps
        self._event(outcome, step, **({"early": "training.patience was exhausted"} if early else {}))

    def _discard_after(self, step: int) -> None:
        if self.metrics.exists():
            kept = [json.dumps(line) for line in read_lines(self.metrics) if line["step"] <= step]
            write_text(self.metrics, "".join(f"{line}\n" for line in kept))
        for file in list(self.evaluations.glob("*-*.json")):
            if int(file.stem.rpartition("-")[2]) > step:
                file.unlink()
                shutil.rmtree(file.with_suffix(""), ignore_errors=True)

    def _event(self, event: str, step: int, **more: Any) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        append_line(self.events, json.dumps({"event": event, "step": step, **more, "time": now}))


def _file_name(name: str) -> str:
    """Converts a name ``group/name`` to a file name."""
    return name.replace("/", "-")
