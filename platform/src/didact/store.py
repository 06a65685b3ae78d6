"""A store: the samples that ``didact ingest`` made of files, in one LMDB folder.

STORE/data.mdb        the records: their media's own bytes, and what is known of each
STORE/columns/        every record's length and fields as arrays, so that ten million samples open at once
STORE/rejected.tsv    what could not be read, and why
STORE/store.json      what the store is; written last, so a folder without it is not yet a store
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import lmdb
import numpy as np

from didact.contracts import Samples
from didact.errors import DataError, did_you_mean

SCHEMA = 1
DATA, ABOUT, PROGRESS = b"data", b"about", b"progress"  # the databases in data.mdb; the last is the ingester's own
DIGEST_BYTES = 32  # SHA-256; an `ABOUT` value is a record's digest, then [name, length, fields] as JSON


def _strings(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)  # JSON has only lists


@attrs.frozen(kw_only=True)
class Manifest:
    """What ``store.json`` says.

    Attributes:
        schema: version of this layout.
        kind: of media: ``images``, ``audio``, ``text``.
        unit: what lengths count.
        count: records.
        fingerprint: SHA-256 over the records' bytes and fields in their order.
        fields: what is known of records, such as ``label``; column ``n`` of ``columns/`` belongs to the n-th.
        total_length: of all records, in the unit.
        total_bytes: of all records' data.
        files: how many files were read.
        rejected: how many were not, for a reason that ``rejected.tsv`` gives.
        inputs: the paths and options that it was made with, to recognise them again.
    """

    schema: int
    kind: str
    unit: str
    count: int
    fingerprint: str
    fields: tuple[str, ...] = attrs.field(converter=_strings)
    total_length: float
    total_bytes: int
    files: int
    rejected: int
    inputs: Mapping[str, Any]


@attrs.frozen(kw_only=True, eq=False)
class StoredRecord:
    """One record of a store.

    Attributes:
        data: the media's own bytes.
        name: where they came from.
        length: in the store's unit.
        fields: what is known of it, such as ``label``.
    """

    data: bytes
    name: str
    length: float
    fields: Mapping[str, str]


class Store:
    """An ingested collection of records.

    LMDB is opened when the first record is read, by the process that reads it: an environment that crosses a fork or
    a pickle corrupts or crashes (py-lmdb#350), so a store that does is opened anew over there.

    Attributes:
        path: its folder.
        manifest: what it is.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._reader: _Reader | None = None
        self._lengths: np.ndarray | None = None

    @classmethod
    def open(cls, name_or_path: str, kind: str | None = None) -> Store:
        """The store in a folder, or of a name in ``$DIDACT_STORES`` or ``stores/``.

        Args:
            name_or_path: of the folder.
            kind: which it must be; None takes any.

        Raises:
            DataError: it is missing, half written, damaged, empty or of another kind.
        """
        path = find_store(name_or_path)
        manifest = read_manifest(path)
        if manifest is None:
            raise DataError(
                f"the store {name_or_path!r} is half written: its ingestion was interrupted",
                where=str(path),
                mend=f"run the same `didact ingest … --out {name_or_path}` again; it goes on where it stopped",
            )
        if kind is not None and manifest.kind != kind:
            raise DataError(
                f"the store {name_or_path!r} holds {manifest.kind}, but {kind} are asked for",
                where=str(path),
                mend=f"name a store of {kind}, or use a source for {manifest.kind}; `didact inspect` shows a store",
            )
        if manifest.count == 0:
            raise DataError(f"the store {name_or_path!r} is empty", where=str(path), mend="ingest some files into it")
        return cls(path, manifest)

    def __len__(self) -> int:
        return self.manifest.count

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "manifest": self.manifest, "_reader": None, "_lengths": None}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the records are."""
        return self.manifest.fingerprint

    @property
    def lengths(self) -> np.ndarray:
        """(N,) float64; every record's length in the store's unit."""
        if self._lengths is None:
            self._lengths = self._array("lengths")
        return self._lengths

    def column(self, field: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """A field of all records.

        Returns:
            codes (N,) int64, -1 where a record has no such field; and the values, sorted, which they number.

        Raises:
            DataError: no record has such a field.
        """
        fields = self.manifest.fields
        if field not in fields:
            raise DataError(f"the store has no field {field!r}", where=str(self.path), mend=did_you_mean(field, fields))
        place = f"field-{fields.index(field)}"
        names = json.loads(self._read(place + ".json"))
        return self._array(place).astype(np.int64), tuple(names)

    def get(self, index: int) -> StoredRecord:
        """Record number ``index``, from 0.

        Raises:
            DataError: it cannot be read.
        """
        reader, key = self._open(), self._key(index)
        try:
            with reader.environment.begin() as transaction:
                data, about = transaction.get(key, db=reader.data), transaction.get(key, db=reader.about)
            if data is None or about is None:
                raise self._damaged(f"record {index} is missing")
            name, length, fields = json.loads(about[DIGEST_BYTES:])
        except (lmdb.Error, ValueError) as error:
            raise self._damaged(f"record {index} cannot be read: {error}") from error
        return StoredRecord(data=data, name=name, length=length, fields=fields)

    def name(self, index: int) -> str:
        """The name of record number ``index``, without its data."""
        reader, key = self._open(), self._key(index)
        with reader.environment.begin() as transaction:
            about = transaction.get(key, db=reader.about)
        if about is None:
            raise self._damaged(f"record {index} is missing")
        return str(json.loads(about[DIGEST_BYTES:])[0])

    def _key(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of a store of {len(self)}")
        return record_key(index)

    def _open(self) -> _Reader:
        if self._reader is None or self._reader.process != os.getpid():
            try:
                self._reader = _Reader.of(self.path)
            except (lmdb.Error, OSError) as error:
                raise self._damaged(f"data.mdb cannot be opened: {error}") from error
        return self._reader

    def _array(self, name: str) -> np.ndarray:
        file = self.path / "columns" / f"{name}.npy"
        try:
            array: np.ndarray = np.load(file, mmap_mode="r")  # mapped: all workers of a machine share one copy
        except (OSError, ValueError) as error:
            raise self._damaged(f"columns/{file.name} cannot be read: {error}") from error
        if array.shape != (len(self),):
            raise self._damaged(f"columns/{file.name} has {array.shape[0]} rows for {len(self)} records")
        return array

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / "columns" / name).read_bytes()
        except OSError as error:
            raise self._damaged(f"columns/{name} cannot be read: {error}") from error

    def _damaged(self, what: str) -> DataError:
        return DataError(f"the store is damaged: {what}", where=str(self.path), mend="ingest it anew with --restart")


class StoredSamples(Samples):
    """A store's records as a source's samples; decoding them is left to the medium's own plugin.

    Args:
        store: whose records.
        where: which of them, such as ``speaker != theo`` or ``split == train and label != noise``; None for all.

    Raises:
        DataError: the condition names a field or a value that the store does not have, or leaves nothing.
    """

    def __init__(self, store: Store, where: str | None = None) -> None:
        self.store = store
        self.fingerprint = store.fingerprint
        self.lengths = store.lengths
        self.labels: np.ndarray | None = None
        self.classes: tuple[str, ...] = ()
        if "label" in store.manifest.fields:
            self.labels, self.classes = store.column("label")  # all the store's classes, so that two parts of it agree
        self._chosen: np.ndarray | None = None
        if where is not None:
            chosen = np.flatnonzero(_matches(store, where))
            if len(chosen) == 0:
                raise DataError(
                    f"no sample is left where {where}", where=str(store.path), mend="loosen the source's condition"
                )
            self.keep(chosen)

    def keep(self, chosen: np.ndarray) -> None:
        """Leaves out all samples but some; for a source to call before anybody reads.

        Args:
            chosen: (N,) int64; the samples that stay, ascending.
        """
        self._chosen = chosen if self._chosen is None else self._chosen[chosen]
        self.lengths = self.lengths[chosen]
        self.labels = None if self.labels is None else self.labels[chosen]
        which = self._chosen.astype("<i8").tobytes()  # of the store: which samples they are, however they were chosen
        self.fingerprint = hashlib.sha256(self.store.fingerprint.encode() + which).hexdigest()

    def __len__(self) -> int:
        return len(self.lengths)

    def record(self, index: int) -> StoredRecord:
        """The record of sample ``index``."""
        return self.store.get(self.place(index))

    def name(self, index: int) -> str:
        return self.store.name(self.place(index))

    def place(self, index: int) -> int:
        """The number of sample ``index`` in the store."""
        return index if self._chosen is None else int(self._chosen[index])

    @property
    def places(self) -> np.ndarray:
        """(N,) int64; the numbers of all samples in the store, ascending."""
        return np.arange(len(self.store)) if self._chosen is None else self._chosen


def find_store(name_or_path: str) -> Path:
    """The folder that ``name_or_path`` means, whether or not it is complete.

    Raises:
        DataError: there is none; says where was looked.
    """
    roots = [Path(root) for root in (os.environ.get("DIDACT_STORES"), "stores") if root]
    places = [Path(name_or_path), *(root / name_or_path for root in roots)]
    for place in places:
        if (place / "store.json").is_file() or (place / "data.mdb").is_file():
            return place
    if places[0].exists():
        raise DataError(f"{name_or_path} is no store", where=str(places[0]), mend="make one with `didact ingest`")
    raise DataError(
        f"there is no store {name_or_path!r}",
        where="looked in " + ", ".join(str(place) for place in places),
        mend="make it with `didact ingest`, give its path, or set DIDACT_STORES to the folder that holds your stores",
    )


def read_manifest(path: Path) -> Manifest | None:
    """What the store in a folder is; None where it is not complete.

    Raises:
        DataError: ``store.json`` is damaged or of a later version.
    """
    file = path / "store.json"
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_bytes())
        later = values["schema"] > SCHEMA
        if not later:
            return Manifest(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"store.json cannot be read: {error}", where=str(file), mend="ingest it anew with --restart"
        ) from error
    raise DataError(
        f"the store has layout {values['schema']}, which this didact does not know (it knows {SCHEMA})",
        where=str(file),
        mend="update didact",
    )


def rejected_files(path: str | Path) -> Iterator[tuple[str, str]]:
    """The files that a store's ingestion left out: their names and the reasons."""
    try:
        lines = (Path(path) / "rejected.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
    except FileNotFoundError:
        return
    for line in lines:
        name, _, reason = line.partition("\t")
        yield name, reason


def record_key(index: int) -> bytes:
    """LMDB's key of record ``index``; big-endian, so that keys are in order."""
    return index.to_bytes(8, "big")


class _Reader:
    """An environment opened for reading by this process.

    LMDB forbids to open one file twice in a process, and an experiment's source and its evaluation's may well name the
    same store: those share a reader, which is closed with the last of them. Several threads may ask for it at once.
    """

    _opened: ClassVar[weakref.WeakValueDictionary[tuple[int, int], _Reader]] = weakref.WeakValueDictionary()
    _opening: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        # lock=False: nobody writes to a complete store, and it may lie on a read-only file system.
        # readahead=False: shuffled reads of stores beyond memory gain nothing from it and evict what they need.
        self.environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False, max_dbs=3)
        self.data = self.environment.open_db(DATA, create=False)
        self.about = self.environment.open_db(ABOUT, create=False)

    @classmethod
    def of(cls, path: Path) -> _Reader:
        """This process's reader of the store in ``path``."""
        file = (path / "data.mdb").stat()
        key = (file.st_dev, file.st_ino)
        with cls._opening:
            reader = cls._opened.get(key)
            if reader is not None and reader.process != os.getpid():
                reader.environment.close()  # inherited over a fork: unusable here, and in the way of a second one
                reader = None
            if reader is None:
                reader = cls._opened[key] = cls(path)
            return reader

    @classmethod
    def renew_lock(cls) -> None:
        """For a forked process, whose parent may have held the lock in another thread."""
        cls._opening = threading.Lock()


os.register_at_fork(after_in_child=_Reader.renew_lock)


def _matches(store: Store, where: str) -> np.ndarray:
    """Which records fulfil a condition: (N,) bool."""
    matches = np.ones(len(store), dtype=bool)
    for term in re.split(r"\s+and\s+(?=\S+\s*(?:==|!=))", where.strip()):
        parsed = re.fullmatch(r"\s*(\S+?)\s*(==|!=)\s*(.+?)\s*", term)
        if parsed is None:
            raise DataError(
                f"{term!r} is no condition", where=f"where={where!r}", mend="write `field == value` or `field != value`"
            )
        field, relation, value = parsed.groups()
        if field not in store.manifest.fields:
            raise DataError(
                f"the store has no field {field!r}",
                where=f"where={where!r} on {store.path}",
                mend=f"{did_you_mean(field, store.manifest.fields)}; where=None takes all records",
            )
        codes, names = store.column(field)
        if value not in names:  # a misspelt exclusion would let in what it should keep out
            raise DataError(
                f"no record of the store has the {field} {value!r}",
                where=f"where={where!r}",
                mend=did_you_mean(value, names),
            )
        equal = codes == names.index(value)
        matches &= equal if relation == "==" else ~equal
    return matches
