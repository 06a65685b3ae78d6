"""Shows a run: a progress bar with rate, loss and time left on a terminal, or plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping

import click

from didact.contracts.running import RunInfo
from didact.experiment import Report
from didact.hookspecs import hookimpl

SECONDS_BETWEEN_LINES = 5.0
BAR = 20  # characters
CLEAR = "\r\x1b[2K"  # returns to the start of the line and erases it


class Progress:
    """An observer that shows a run on the terminal.

    Attributes:
        warned: the warnings that were shown.
    """

    def __init__(self) -> None:
        self.warned: list[str] = []
        self._live, self._last_line = sys.stdout.isatty(), 0.0

    @hookimpl
    def run_started(self, run: RunInfo) -> None:
        steps = run.experiment.training.steps
        self._steps, self._first, self._started = steps, run.step, time.monotonic()
        at = f" from step {run.step}" if run.step else ""
        what = f"{steps} steps{at}" if run.step < steps else f"all {steps} steps were taken"
        device, precision = run.environment["device"], run.environment["precision"]
        self._print(f"{run.experiment.name}: {what} on {device} in {precision}\nin {run.folder}")

    @hookimpl
    def step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        minutes, seconds = divmod(int((now - self._started) / (step - self._first) * (self._steps - step)), 60)
        status = f"loss {metrics['train/loss']:.4f}  {metrics['time/samples_per_second']:.1f} samples/s"
        line = f"step {step}/{self._steps}  {status}  {minutes // 60}:{minutes % 60:02d}:{seconds:02d} left"
        if self._live:
            bar = "━" * (BAR * step // self._steps)
            self._print(f"{bar:╌<{BAR}} {line}"[: shutil.get_terminal_size().columns - 1], end="")
        elif step in (1, self._steps) or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._print(line)

    @hookimpl
    def evaluation_finished(self, step: int, name: str, report: Report) -> None:
        found = "  ".join(f"{metric} {value:.4g}" for metric, value in report.metrics.items())
        self._print(f"{name} at step {step}: {found or 'written'}")

    @hookimpl
    def rolled_back(self, step: int) -> None:
        self._first = min(self._first, step)
        self._print(f"back to step {step}")

    @hookimpl
    def run_warned(self, text: str) -> None:
        self.warned.append(text)
        click.echo(f"{CLEAR if self._live else ''}warning: {text}", err=True)

    @hookimpl
    def run_ended(self) -> None:
        if self._live:
            print()  # the next output starts below the bar

    def _print(self, text: str, end: str = "\n") -> None:
        try:
            print(CLEAR * self._live + text, end=end, flush=True)
        except BrokenPipeError:  # such as by ``head``: the run continues without output
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
