"""A store: the records that ``didact ingest`` made from files, in one LMDB folder.

STORE/data.mdb        the records: each has the file's own bytes, its name, length and fields
STORE/columns/        all lengths and fields as arrays, so that a store of ten million records opens in milliseconds
STORE/rejected.tsv    the files that could not be read, with the reasons
STORE/store.json      the manifest; written last, so a folder without it is not a complete store
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import lmdb
import numpy as np

from didact.errors import DataError, did_you_mean

SCHEMA = 1
DATA, ABOUT, PROGRESS = b"data", b"about", b"progress"  # the databases in data.mdb; only ingestion uses the last one
DIGEST_BYTES = 32  # SHA-256; an `ABOUT` value is a record's digest followed by [name, length, fields] as JSON


def _strings(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)  # JSON has only lists


@attrs.frozen(kw_only=True)
class Manifest:
    """The contents of ``store.json``.

    Attributes:
        schema: the version of this layout.
        kind: the kind of the medium: ``images``, ``audio``, ``text``.
        unit: the unit of lengths.
        count: the number of records.
        fingerprint: SHA-256 over the records' bytes and fields, in order.
        fields: the names of the records' fields, such as ``label``; ``columns/field-N`` holds the N-th field.
        total_length: the total length of all records, in the unit.
        total_bytes: the total size of all records' data.
        files: the number of files that were read.
        rejected: the number of files and parts of files in ``rejected.tsv``.
        inputs: the files and options of the ingestion, to recognise the ingestion when it is repeated.
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
        data: the file's own bytes.
        name: the name of the file, with the record's place in the file.
        length: the length in the store's unit.
        fields: the fields, such as ``label``.
    """

    data: bytes
    name: str
    length: float
    fields: Mapping[str, str]


class Store:
    """An ingested collection of records.

    LMDB is opened when a process reads its first record. An environment that crosses a fork or a pickle corrupts data
    or crashes (py-lmdb#350), so every process opens its own environment.

    Attributes:
        path: the folder of the store.
        manifest: the contents of ``store.json``.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._reader: _Reader | None = None
        self._lengths: np.ndarray | None = None

    @classmethod
    def open(cls, name_or_path: str, kind: str | None = None) -> Store:
        """Opens a store by its folder, or by a name in ``$DIDACT_STORES`` or ``stores/``.

        Args:
            name_or_path: the name or the folder of the store.
            kind: the required kind; None accepts any kind.

        Raises:
            DataError: the store is missing, half written, damaged, empty or of another kind.
        """
        path = find_store(name_or_path)
        manifest = read_manifest(path)
        if manifest is None:
            raise DataError(
                f"the store {name_or_path!r} is half written: its ingestion was interrupted",
                where=str(path),
                hint=f"run the same `didact ingest … --out {name_or_path}` again; it resumes",
            )
        if kind is not None and manifest.kind != kind:
            raise DataError(
                f"the store {name_or_path!r} holds {manifest.kind}, not {kind}",
                where=str(path),
                hint=f"choose a store of {kind}, or a source of {manifest.kind}; `didact inspect` shows a store",
            )
        if manifest.count == 0:
            raise DataError(f"the store {name_or_path!r} is empty", where=str(path), hint="ingest files into it")
        return cls(path, manifest)

    def __len__(self) -> int:
        return self.manifest.count

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "manifest": self.manifest, "_reader": None, "_lengths": None}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the records' bytes and fields."""
        return self.manifest.fingerprint

    @property
    def lengths(self) -> np.ndarray:
        """(N,) float64; the length of every record in the store's unit."""
        if self._lengths is None:
            self._lengths = self._array("lengths")
        return self._lengths

    def column(self, field: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """Reads a field of all records.

        Returns:
            Codes (N,) int64, which index the values, -1 for a record without the field; and the sorted values.

        Raises:
            DataError: no record has the field.
        """
        fields = self.manifest.fields
        if field not in fields:
            raise DataError(f"the store has no field {field!r}", where=str(self.path), hint=did_you_mean(field, fields))
        place = f"field-{fields.index(field)}"
        names = json.loads(self._read(place + ".json"))
        return self._array(place).astype(np.int64), tuple(names)

    def get(self, index: int) -> StoredRecord:
        """Reads record number ``index``, from 0.

        Raises:
            DataError: the record cannot be read.
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
        """Reads the name of record number ``index``, without its data."""
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
            array: np.ndarray = np.load(file, mmap_mode="r")  # memory-mapped: all workers of a machine share one copy
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
        return DataError(f"the store is damaged: {what}", where=str(self.path), hint="ingest it again with --restart")


def find_store(name_or_path: str) -> Path:
    """Finds the folder of a store, which may be incomplete.

    Raises:
        DataError: the store does not exist; the error lists the places that were searched.
    """
    roots = [Path(root) for root in (os.environ.get("DIDACT_STORES"), "stores") if root]
    places = [Path(name_or_path), *(root / name_or_path for root in roots)]
    for place in places:
        if (place / "store.json").is_file() or (place / "data.mdb").is_file():
            return place
    if places[0].exists():
        raise DataError(f"{name_or_path} is not a store", where=str(places[0]), hint="create one with `didact ingest`")
    raise DataError(
        f"there is no store {name_or_path!r}",
        where="searched " + ", ".join(str(place) for place in places),
        hint="create it with `didact ingest`, give its path, or set DIDACT_STORES to the folder of your stores",
    )


def read_manifest(path: Path) -> Manifest | None:
    """Reads the manifest of the store in a folder; None if the store is not complete.

    Raises:
        DataError: ``store.json`` is damaged or has a later version.
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
            f"store.json cannot be read: {error}", where=str(file), hint="ingest it again with --restart"
        ) from error
    raise DataError(
        f"the store has layout {values['schema']}, and this didact reads layout {SCHEMA}",
        where=str(file),
        hint="update didact",
    )


def rejected_files(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yields the files that a store's ingestion rejected, with names and reasons."""
    try:
        lines = (Path(path) / "rejected.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
    except FileNotFoundError:
        return
    for line in lines:
        name, _, reason = line.partition("\t")
        yield name, reason


def record_key(index: int) -> bytes:
    """The LMDB key of record ``index``; big-endian, so that keys are in order."""
    return index.to_bytes(8, "big")


class _Reader:
    """An environment that this process has opened for reading.

    LMDB forbids opening one file twice in a process, and a source and its evaluations may use the same store. They
    share one reader, which is closed with the last user. The class is thread-safe.
    """

    _opened: ClassVar[weakref.WeakValueDictionary[tuple[int, int], _Reader]] = weakref.WeakValueDictionary()
    _opening: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        # lock=False: a complete store is not written to, and it may be on a read-only file system.
        # readahead=False: it slows down shuffled reads of stores that are larger than memory.
        self.environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False, max_dbs=3)
        self.data = self.environment.open_db(DATA, create=False)
        self.about = self.environment.open_db(ABOUT, create=False)

    @classmethod
    def of(cls, path: Path) -> _Reader:
        """Returns this process's reader of the store in ``path``."""
        file = (path / "data.mdb").stat()
        key = (file.st_dev, file.st_ino)
        with cls._opening:
            reader = cls._opened.get(key)
            if reader is not None and reader.process != os.getpid():
                reader.environment.close()  # inherited over a fork: unusable here, and it blocks a new environment
                reader = None
            if reader is None:
                reader = cls._opened[key] = cls(path)
            return reader

    @classmethod
    def renew_lock(cls) -> None:
        """Replaces the lock in a forked process, because another thread of the parent may have held it."""
        cls._opening = threading.Lock()


os.register_at_fork(after_in_child=_Reader.renew_lock)
