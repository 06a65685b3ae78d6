"""Finding runs where a tracker knows them."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path


class RunFinder(abc.ABC):
    """Finds runs by a query, such as ``aim:run.study == 'layers'``; the word before the colon is the plugin's name."""

    @abc.abstractmethod
    def find(self, query: str, place: str) -> Sequence[Path]:
        """The folders of the runs that fit what follows the colon, at a place such as a tracker's repository.

        Raises:
            DataError: there is nothing at that place, or the query cannot be understood.
        """
