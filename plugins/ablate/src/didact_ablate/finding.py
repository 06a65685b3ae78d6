"""The contract of run finders, which query trackers for runs."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path


class RunFinder(abc.ABC):
    """Finds runs by a query, such as ``aim:run.study == 'layers'``; the plugin's name precedes the colon."""

    @abc.abstractmethod
    def find(self, query: str, place: str) -> Sequence[Path]:
        """Returns the folders of the runs that match a query, from a place such as a tracker's repository.

        Raises:
            DataError: the place does not exist, or the query cannot be parsed.
        """
