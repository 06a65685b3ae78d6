"""Observers: told what happens in a run, unable to harm it."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from didact.contracts import Report, RunInfo
from didact.hookspecs import hookimpl
from didact.plugins import lifecycle_manager


class Observers:
    """The observers of one run, in a plugin manager of their own.

    One that raises is reported to the others as a warning and switched off; the training goes on.
    """

    def __init__(self, observers: Mapping[str, Any]) -> None:
        self.manager = lifecycle_manager()
        self.warnings: list[str] = []
        for name, observer in observers.items():
            self.manager.register(observer, name=name)
        self.manager.check_pending()

    def notify(self, hook: str, **arguments: Any) -> None:
        """Calls one lifecycle hook of every observer."""
        for implementation in list(reversed(getattr(self.manager.hook, hook).get_hookimpls())):
            try:
                implementation.function(**{name: arguments[name] for name in implementation.argnames})
            except Exception:  # foreign code: nothing it does may end a training
                self.manager.unregister(implementation.plugin)
                self.warnings.append(
                    f"the observer {implementation.plugin_name!r} failed in {hook} and is switched off:\n"
                    f"{traceback.format_exc()}"
                )


class Recorder:
    """Writes what happens into the run's folder as JSON lines."""

    def __init__(self, folder: Path) -> None:
        self.metrics = folder / "metrics.jsonl"
        self.events = folder / "events.jsonl"
        self.evaluations = folder / "evaluations"

    @hookimpl
    def run_started(self, run: RunInfo) -> None:
        """Forgets metrics of steps after the one that the run goes on from; they are about to be taken again."""
        if self.metrics.exists():
            kept = [line for line in self.metrics.read_text().splitlines() if json.loads(line)["step"] <= run.step]
            self.metrics.write_text("".join(f"{line}\n" for line in kept))
        self._append(self.events, {"event": "started", "step": run.step})

    @hookimpl
    def step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        self._append(self.metrics, {"step": step, **metrics})

    @hookimpl
    def evaluation_finished(self, step: int, name: str, report: Report) -> None:
        self.evaluations.mkdir(exist_ok=True)
        path = self.evaluations / f"{name}-{step:08d}.json"
        path.write_text(
            json.dumps({"step": step, "evaluation": name, "metrics": dict(report.metrics)}, indent=2) + "\n"
        )

    @hookimpl
    def checkpoint_written(self, step: int, folder: str) -> None:
        self._append(self.events, {"event": "checkpoint", "step": step, "folder": Path(folder).name})

    @hookimpl
    def run_ended(self, outcome: str, step: int) -> None:
        self._append(self.events, {"event": outcome, "step": step})

    @staticmethod
    def _append(path: Path, line: Mapping[str, Any]) -> None:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The metrics of a run, one dictionary for each step that was logged."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
