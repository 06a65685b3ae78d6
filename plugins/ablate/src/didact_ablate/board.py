"""One display for a whole study: finished runs, current runs and the remaining time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from didact_ablate.jobs import Job
from didact_ablate.members import Member

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_LOOKS = 1.0


class Board:
    """Shows the progress of a study: bars on a terminal, plain lines elsewhere.

    Args:
        members: all runs of the study.
        console: the console to print to.
        metric: the metric whose value is shown for each finished run.
    """

    def __init__(self, members: Sequence[Member], console: Console, metric: str) -> None:
        self.console, self.metric = console, metric
        self._total = sum(member.experiment.training.steps for member in members)
        self._runs = len(members)
        done = [member for member in members if member.done]
        self._over = len(done)
        self._steps = sum(member.experiment.training.steps for member in done)  # of runs that have ended
        self._began = time.monotonic()
        self._first = self._steps + sum(_step(member) for member in members if member not in done)
        self._looked = self._told = 0.0
        self._bars: Progress | None = None
        self._tasks: dict[int, TaskID] = {}
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TextColumn("{task.fields[status]}"),
                console=console,
            )
            self._whole = self._bars.add_task("study, steps", total=self._total, completed=self._first, status="")
            self._bars.start()

    def watch(self, running: Sequence[Job]) -> None:
        """Updates the display with the current runs; called several times a second."""
        now = time.monotonic()
        if now - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        at = {id(job): _step(job.member) for job in running}
        reached = self._steps + sum(at.values())
        status = f"{self._over} of {self._runs} runs, {self.left(reached)}"
        if self._bars is None:
            if now - self._told >= SECONDS_BETWEEN_LINES:
                self._told = now
                words = ", ".join(f"{job.member} at {at[id(job)]}" for job in running)
                self.console.print(f"{reached}/{self._total} steps, {status}: {words}", markup=False, soft_wrap=True)
            return
        self._bars.update(self._whole, completed=reached, status=status)
        for job in running:
            if id(job) not in self._tasks:
                steps = job.member.experiment.training.steps
                self._tasks[id(job)] = self._bars.add_task(f"  {job.member}", total=steps, status="")
            said = "starting" if not at[id(job)] else "evaluating" if at[id(job)] >= _steps(job) else ""
            self._bars.update(self._tasks[id(job)], completed=at[id(job)], status=said)

    def ended(self, job: Job, trouble: str) -> None:
        """Reports how a run ended."""
        member, record = job.member, job.member.record
        if self._bars is not None and id(job) in self._tasks:
            self._bars.remove_task(self._tasks.pop(id(job)))
        if trouble == "stopped":
            self._steps += _step(member)
            return
        self._over += 1
        self._steps += member.experiment.training.steps
        if trouble or record is None:
            self.console.print(f"{member} failed: {trouble}", style="red", markup=False, soft_wrap=True)
            return
        value = record.found.get(self.metric, record.metrics[-1].get(self.metric) if record.metrics else None)
        said = f"{self.metric} {value:.5g}" if value is not None else "done"
        self.console.print(
            f"{member}: {said}, {clock(time.monotonic() - job.since)}", style=None, markup=False, soft_wrap=True
        )

    def left(self, reached: int) -> str:
        """Estimates the remaining time from the rate since this call began, evaluations and starts included."""
        taken = reached - self._first
        if taken <= 0:
            return "time left not known yet"
        seconds = (time.monotonic() - self._began) / taken * (self._total - reached)
        return f"{clock(seconds)} left"

    def close(self) -> None:
        """Restores the terminal."""
        if self._bars is not None:
            self._bars.stop()


def clock(seconds: float) -> str:
    """Formats a duration as hours, minutes and seconds."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


def _steps(job: Job) -> int:
    return job.member.experiment.training.steps


def _step(member: Member) -> int:
    record = member.record
    return record.step if record is not None else 0
