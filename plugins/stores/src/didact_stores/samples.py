"""The records of a store as samples of a source."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from didact.contracts.data import Samples
from didact.errors import DataError, did_you_mean
from didact_stores.store import Store, StoredRecord


class StoredSamples(Samples):
    """Samples of a source from the records of a store. Subclasses decode the records.

    Args:
        store: the store of the records.
        where: a condition, such as ``speaker != theo`` or ``split == train and label != noise``; None for all.

    Raises:
        DataError: the condition names an unknown field or value, or matches no record.
    """

    def __init__(self, store: Store, where: str | None = None) -> None:
        self.store = store
        self.fingerprint = store.fingerprint
        self.lengths = store.lengths
        self.labels: np.ndarray | None = None
        self.classes: tuple[str, ...] = ()
        if "label" in store.manifest.fields:
            self.labels, self.classes = store.column("label")  # all classes of the store, so that its parts agree
        self._chosen: np.ndarray | None = None
        if where is not None:
            chosen = np.flatnonzero(_matches(store, where))
            if len(chosen) == 0:
                raise DataError(
                    f"no record fulfils {where}", where=str(store.path), hint="loosen the source's condition"
                )
            self.keep(chosen)

    def keep(self, chosen: np.ndarray) -> None:
        """Keeps only the chosen samples. A source calls this before the first read.

        Args:
            chosen: (N,) int64; the samples to keep, in ascending order.
        """
        self._chosen = chosen if self._chosen is None else self._chosen[chosen]
        self.lengths = self.lengths[chosen]
        self.labels = None if self.labels is None else self.labels[chosen]
        which = self._chosen.astype("<i8").tobytes()  # equal samples give equal fingerprints, however they were chosen
        self.fingerprint = hashlib.sha256(self.store.fingerprint.encode() + which).hexdigest()

    def __len__(self) -> int:
        return len(self.lengths)

    def record(self, index: int) -> StoredRecord:
        """Reads the record of sample ``index``."""
        return self.store.get(self.place(index))

    def name(self, index: int) -> str:
        return self.store.name(self.place(index))

    def place(self, index: int) -> int:
        """The store's index of sample ``index``."""
        return index if self._chosen is None else int(self._chosen[index])

    @property
    def places(self) -> np.ndarray:
        """(N,) int64; the store's indices of all samples, in ascending order."""
        return np.arange(len(self.store)) if self._chosen is None else self._chosen


def _matches(store: Store, where: str) -> np.ndarray:
    """Computes whether each record matches a condition: (N,) bool."""
    matches = np.ones(len(store), dtype=bool)
    for term in re.split(r"\s+and\s+(?=\S+\s*(?:==|!=))", where.strip()):
        parsed = re.fullmatch(r"\s*(\S+?)\s*(==|!=)\s*(.+?)\s*", term)
        if parsed is None:
            raise DataError(
                f"{term!r} is not a condition",
                where=f"where={where!r}",
                hint="write `field == value` or `field != value`",
            )
        field, relation, value = parsed.groups()
        if field not in store.manifest.fields:
            raise DataError(
                f"the store has no field {field!r}",
                where=f"where={where!r} on {store.path}",
                hint=f"{did_you_mean(field, store.manifest.fields)}; where=None takes all records",
            )
        codes, names = store.column(field)
        if value not in names:  # a misspelt value in an exclusion would exclude nothing
            raise DataError(
                f"no record of the store has the {field} {value!r}",
                where=f"where={where!r}",
                hint=did_you_mean(value, names),
            )
        equal = codes == names.index(value)
        matches &= equal if relation == "==" else ~equal
    return matches
