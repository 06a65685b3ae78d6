"""Shows a run: a progress bar with rate, loss and time left on a terminal, or plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from didact.contracts.running import RunInfo
from didact.experiment import Report
from didact.hookspecs import hookimpl

SECONDS_BETWEEN_LINES = 5.0
ONLY = TaskID(0)  # the bar's only task


class Terminal(Console):
    """A console whose output may be closed early, for example by ``head``; the run continues without output."""

    def on_broken_pipe(self) -> None:
        """Drops further output; rich's default ends the process."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Progress:
    """An observer that shows a run on the terminal.

    Attributes:
        warned: the warnings that were shown.
    """

    def __init__(self) -> None:
        self.console = Terminal(highlight=False)
        self.warned: list[str] = []
        self._bar: Bar | None = None
        self._last_line = 0.0

    @hookimpl
    def run_started(self, run: RunInfo) -> None:
        steps = run.experiment.training.steps
        self._steps, self._first, self._started = steps, run.step, time.monotonic()
        at = f" from step {run.step}" if run.step else ""
        what = f"{steps} steps{at}" if run.step < steps else f"all {steps} steps were taken"
        device, precision = run.environment["device"], run.environment["precision"]
        self.console.print(f"{run.experiment.name}: {what} on {device} in {precision}\nin {run.folder}")
        if self.console.is_terminal:
            columns = (TextColumn("{task.fields[status]}"), TimeRemainingColumn())
            self._bar = Bar(TextColumn("training"), BarColumn(), MofNCompleteColumn(), *columns, console=self.console)
            self._bar.add_task("training", total=steps, completed=run.step, status="")
            self._bar.start()

    @hookimpl
    def step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        status = f"loss {metrics['train/loss']:.4f}  {metrics['time/samples_per_second']:.1f} samples/s"
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(ONLY, completed=step, status=status)
        elif step in (1, self._steps) or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            minutes, seconds = divmod(int((now - self._started) / (step - self._first) * (self._steps - step)), 60)
            left = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
            self.console.print(f"step {step}/{self._steps}  {status}  {left} left")

    @hookimpl
    def evaluation_finished(self, step: int, name: str, report: Report) -> None:
        found = "  ".join(f"{metric} {value:.4g}" for metric, value in report.metrics.items())
        self.console.print(f"{name} at step {step}: {found or 'written'}")

    @hookimpl
    def rolled_back(self, step: int) -> None:
        self._first = min(self._first, step)
        self.console.print(f"back to step {step}")
        if self._bar is not None:
            self._bar.update(ONLY, completed=step)

    @hookimpl
    def run_warned(self, text: str) -> None:
        self.warned.append(text)
        if self._bar is not None:
            self.console.print(f"warning: {text}", markup=False)  # above the bar
        else:
            click.echo(f"warning: {text}", err=True)

    @hookimpl
    def run_ended(self) -> None:
        if self._bar is not None:
            self._bar.stop()
