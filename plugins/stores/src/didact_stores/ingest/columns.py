"""The columns of a store: one value of all records, as an array."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

import numpy as np


class Column:
    """The values of a field, numbered in the order of their first appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._rows = array("q")
        self._values = array("q")

    def put(self, index: int, value: str) -> None:
        """Adds the value of record ``index``."""
        self._rows.append(index)
        self._values.append(self._numbers.setdefault(value, len(self._numbers)))

    def coded(self, count: int) -> tuple[np.ndarray, list[str]]:
        """Returns codes (N,) of the smallest integer type that fits, -1 if there is no value, and the sorted values."""
        names = sorted(self._numbers)
        places = {self._numbers[name]: place for place, name in enumerate(names)}
        codes = np.full(count, -1, dtype=np.min_scalar_type(-max(1, len(names))))
        codes[self._rows] = np.array([places[number] for number in range(len(names))], dtype=codes.dtype)[self._values]
        return codes, names


def save_array(file: Path, array: np.ndarray) -> None:
    """Writes an array to a ``.npy`` file and syncs it to the disk."""
    with open(file, "wb") as stream:
        np.save(stream, array)
        stream.flush()
        os.fsync(stream.fileno())
