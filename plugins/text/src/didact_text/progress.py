"""Progress of preparation, shown as a bar on a terminal and elsewhere as a line every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import rich.console
import rich.progress

QUIET_SECONDS = 5.0  # between two lines; shorter work prints nothing


class Progress:
    """A context manager that shows how many records are done.

    Args:
        what: the work, for the line.
        total: number of records.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self._bar = None
        if sys.stderr.isatty():
            self._bar = rich.progress.Progress(
                "{task.description}",
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TimeRemainingColumn(),
                console=rich.console.Console(stderr=True),
            )
            self._task = self._bar.add_task(what, total=total)
        self._spoken = time.monotonic()

    def advance(self, records: int = 1) -> None:
        """Adds ``records`` to the count."""
        self.done += records
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
        elif time.monotonic() - self._spoken > QUIET_SECONDS:
            self._spoken = time.monotonic()
            print(f"{self.what}: {self.done:,} of {self.total:,} records", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
