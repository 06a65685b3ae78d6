"""A run on the terminal: a bar with rate, loss and time left, or plain lines where there is no terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from didact.contracts import Report, RunInfo
from didact.hookspecs import hookimpl

SECONDS_BETWEEN_LINES = 5.0


class Terminal(Console):
    """A console that nobody need read to its end: what is written after that is lost, and the run goes on."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        """Sends further output nowhere; rich would end the process."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Progress:
    """An observer that shows a run to whoever started it.

    Attributes:
        warned: what went wrong, as it was shown.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console if console is not None else Terminal()
        self.warned: list[str] = []
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._last_line = 0.0

    @hookimpl
    def run_started(self, run: RunInfo) -> None:
        steps = run.experiment.training.steps
        self._steps, self._first = steps, run.step
        self._started = time.monotonic()
        env = run.environment
        at = f" from step {run.step}" if run.step else ""
        what = f"{steps} steps{at}" if run.step < steps else f"all of its {steps} steps were taken"
        self.console.print(f"{run.experiment.name}: {what} on {env['device']} in {env['precision']}")
        self.console.print(f"in {run.folder}")
        if self.console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task("training", total=steps, completed=run.step, status="")
            self._bar.start()

    @hookimpl
    def step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        status = f"loss {metrics['train/loss']:.4f}  {metrics['time/samples_per_second']:.1f} samples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, status=status)
            return
        now = time.monotonic()
        if step in (1, self._steps) or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = (now - self._started) / max(1, step - self._first) * (self._steps - step)
            self.console.print(f"step {step}/{self._steps}  {status}  {_clock(left)} left")

    @hookimpl
    def evaluation_finished(self, step: int, name: str, report: Report) -> None:
        found = "  ".join(f"{metric} {value:.4g}" for metric, value in report.metrics.items())
        self.console.print(f"{name} at step {step}: {found or 'written'}")

    @hookimpl
    def rolled_back(self, step: int) -> None:
        self.console.print(f"back to step {step}")
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    @hookimpl
    def run_warned(self, text: str) -> None:
        self.warned.append(text)
        if self._bar is not None:
            self.console.print(f"warning: {text}", markup=False)  # above the bar
        else:
            click.echo(f"warning: {text}", err=True)

    @hookimpl
    def run_ended(self, outcome: str, step: int) -> None:
        if self._bar is not None:
            self._bar.stop()


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"
