"""Records the metrics, events and evaluations of a run while it is running."""

from __future__ import annotations

import datetime
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from didact.contracts.running import RunInfo
from didact.experiment import Report
from didact.hookspecs import hookimpl
from didact.machine.disk import append_line, write_text, writing
from didact.record.folder import read_lines


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
