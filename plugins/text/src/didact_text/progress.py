"""Progress of what is prepared once: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import rich.console
import rich.progress

QUIET_SECONDS = 5.0  # between two plain lines; what is done sooner says nothing


class Progress:
    """Counts records while the ``with`` lasts.

    Args:
        what: is being done.
        total: records.
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
        """So many more are done."""
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
