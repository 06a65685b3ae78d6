"""Finding runs: below a folder, and the contract of run finders, which query trackers for runs."""

from __future__ import annotations

import abc
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from didact import RunError
from didact.record import RunRecord


class RunFinder(abc.ABC):
    """Finds runs by a query, such as ``aim:run.study == 'layers'``; the plugin's name precedes the colon."""

    @abc.abstractmethod
    def find(self, query: str, place: str) -> Sequence[Path]:
        """Returns the folders of the runs that match a query, from a place such as a tracker's repository.

        Raises:
            DataError: the place does not exist, or the query cannot be parsed.
        """


def find_runs(folder: Path) -> list[RunRecord]:
    """Finds the runs in a folder and below it, sorted by path; safe while runs write and delete files there."""
    runs = []
    for place, below, files in os.walk(folder):
        if "experiment.json" in files:
            below.clear()  # a run's own folder is not searched: its content changes
            with contextlib.suppress(OSError, RunError):
                runs.append(RunRecord.open(Path(place)))
    return sorted((run for run in runs if isinstance(run.data, dict)), key=lambda run: run.folder)
