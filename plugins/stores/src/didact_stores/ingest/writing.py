"""Writes a store; records and progress are written in one transaction, so a kill cannot separate them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import lmdb
import numpy as np

from didact.errors import DataError
from didact_stores.ingest.columns import Column, save_array
from didact_stores.ingest.disk import lock, write_atomically, write_errors
from didact_stores.ingest.files import Place
from didact_stores.media import Record
from didact_stores.store import ABOUT, DATA, DIGEST_BYTES, PROGRESS, SCHEMA, Manifest, record_key

OWN_FILES = frozenset({"data.mdb", "columns", "rejected.tsv", "store.json", ".ingesting"})
SUSPECT = "suspect"  # the field that holds `Record.suspect`
FIRST_MAP_BYTES = 1 << 30  # initial address space; doubled when the map is full


@attrs.frozen(kw_only=True)
class Rejected:
    """A file that could not be read, or a part of a file, with the reason."""

    name: str
    reason: str


@attrs.frozen(kw_only=True, eq=False)
class Done:
    """The result of reading one file, or of a piece of a file.

    Attributes:
        records: the records of the file.
        digests: SHA-256 of each record; see `digest`.
        rejected: the file, if it could not be read; otherwise the parts that were skipped.
        end: the beginning of the next piece of the same file; None if the file is finished.
    """

    records: tuple[Record, ...] = ()
    digests: tuple[bytes, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    end: Place | None = None


def write_store(folder: Path, kind: str, unit: str, records: Iterable[Record]) -> Manifest:
    """Writes records into a new store.

    Raises:
        DataError: a record has a fault, the folder already holds a store, or the disk is full.
    """
    with StoreWriter(folder, kind, unit, inputs={"records": "given"}) as writer:
        if writer.next_file:
            raise DataError(
                f"{folder} already holds a store", where=str(folder), hint="remove it, or choose another folder"
            )
        kept = tuple(marked(record) for record in records)
        faulty = next((record for record in kept if record.fault), None)
        if faulty is not None:
            raise DataError(faulty.fault, where=faulty.name, hint="leave the record out")
        writer.append([Done(records=kept, digests=tuple(digest(record) for record in kept))])
        return writer.complete()


def marked(record: Record) -> Record:
    """Adds the record's `suspect` to its fields."""
    return attrs.evolve(record, fields={**record.fields, SUSPECT: record.suspect}) if record.suspect else record


def digest(record: Record) -> bytes:
    """SHA-256 over a record's bytes and fields, without its name."""
    fields = json.dumps(dict(record.fields), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(fields.encode() + b"\0" + record.data).digest()


class StoreWriter:
    """Writes a store; a context manager that locks the folder.

    Args:
        folder: the folder of the store; created if it does not exist.
        kind: the kind of the medium.
        unit: the unit of lengths.
        inputs: the inputs of the ingestion, as plain data. A half-written store resumes only with equal inputs.
        map_bytes: the initial size of LMDB's map.

    Attributes:
        next_file: the number of finished files, including those of earlier processes.
        place: where to resume in the next file: at its beginning, or after the pieces that are already written.
        count: the number of records.
        rejected: the number of files that could not be read, and of rejected pieces and rows of other files.

    Raises:
        DataError: the folder was half written from other inputs, is complete, is in use, or is not a store.
    """

    def __init__(
        self, folder: Path, kind: str, unit: str, inputs: Mapping[str, Any], map_bytes: int = FIRST_MAP_BYTES
    ) -> None:
        self.folder, self.kind, self.unit, self.inputs = folder, kind, unit, dict(inputs)
        self.next_file = self.count = self.rejected = 0
        self.place = Place()
        self._map_bytes = map_bytes

    def __enter__(self) -> Self:
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            foreign = [entry.name for entry in self.folder.iterdir() if entry.name not in OWN_FILES]
            if foreign and not (self.folder / "data.mdb").exists():
                raise DataError(
                    f"{self.folder} contains other files ({sorted(foreign)[0]})",
                    where=str(self.folder),
                    hint="choose a folder that does not exist yet",
                )
            self._lock = lock(self.folder)
            file = self.folder / "data.mdb"
            used = file.stat().st_size if file.exists() else 0
            self._environment = lmdb.open(
                str(self.folder), map_size=max(self._map_bytes, 2 * used), lock=False, max_dbs=3, metasync=False
            )
            try:
                self._begin()
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._environment.close()
        self._lock.close()

    def _begin(self) -> None:
        self._databases = {name: self._environment.open_db(name) for name in (DATA, ABOUT, PROGRESS)}
        now = {"kind": self.kind, "inputs": self.inputs}
        with self._environment.begin(write=True) as transaction:
            progress = self._databases[PROGRESS]
            state = json.loads(transaction.get(b"state", b"[0, 0, 0]", db=progress))
            before = json.loads(transaction.get(b"inputs", b"null", db=progress))
            if before is not None and state[1] > 0:
                other = difference(before["kind"], before["inputs"], self.kind, self.inputs)
                if other:
                    raise DataError(
                        f"{self.folder} is half written from other inputs: {other}",
                        where=str(self.folder),
                        hint="repeat the command that started it, or start over with --restart",
                    )
            elif before != now:
                state = [0, 0, 0]  # no record was written, so starting again loses nothing
            transaction.put(b"inputs", json.dumps(now).encode(), db=progress)
            transaction.put(b"state", json.dumps(state).encode(), db=progress)
            self._set(state)

    def _set(self, state: Sequence[int]) -> None:
        self.next_file, self.count, self.rejected, *place = state  # without a place: the beginning of the next file
        self.place = Place(offset=place[0], line=place[1]) if place else Place()

    def append(self, files: Iterable[Done]) -> None:
        """Writes the results of the next files in one transaction.

        Raises:
            DataError: the disk is full. Earlier results are kept.
        """
        files = list(files)
        with write_errors(self.folder):
            while True:
                try:
                    with self._environment.begin(write=True) as transaction:
                        state = self._write(transaction, files)
                    break
                except lmdb.MapFullError:
                    self._map_bytes = 2 * self._environment.info()["map_size"]
                    self._environment.set_mapsize(self._map_bytes)
        self._set(state)

    def _write(self, transaction: lmdb.Transaction, files: list[Done]) -> tuple[int, ...]:
        number, count, rejected, place = self.next_file, self.count, self.rejected, self.place
        data, about, progress = (self._databases[name] for name in (DATA, ABOUT, PROGRESS))
        for file in files:
            for record, sha in zip(file.records, file.digests, strict=True):
                known = json.dumps([record.name, record.length, dict(record.fields)], ensure_ascii=False)
                transaction.put(record_key(count), record.data, db=data, append=True)
                transaction.put(record_key(count), sha + known.encode(), db=about, append=True)
                count += 1
            for one in file.rejected:
                line = json.dumps([one.name, one.reason], ensure_ascii=False)
                transaction.put(b"rejected" + record_key(rejected), line.encode(), db=progress)
                rejected += 1
            number += file.end is None
            place = file.end or Place()
        state = (number, count, rejected, *((place.offset, place.line) if place.offset else ()))
        transaction.put(b"state", json.dumps(state).encode(), db=progress)
        return state

    def rejections(self) -> Iterator[Rejected]:
        """Yields the rejected files and parts of files, in order."""
        with self._environment.begin() as transaction:
            for number in range(self.rejected):
                line = transaction.get(b"rejected" + record_key(number), b"", db=self._databases[PROGRESS])
                name, reason = json.loads(line)
                yield Rejected(name=name, reason=reason)

    def complete(self) -> Manifest:
        """Writes the list of rejected files, the columns, and finally ``store.json``.

        Raises:
            DataError: no record was readable, or the disk is full.
        """
        with write_errors(self.folder):
            lines = [f"{_cell(one.name)}\t{_cell(one.reason)}\n" for one in self.rejections()]
            write_atomically(self.folder / "rejected.tsv", "".join(["file\treason\n", *lines]).encode())
            if self.count == 0:
                first = next(self.rejections(), None)
                raise DataError(
                    f"none of {self.next_file} files could be read as {self.kind}",
                    where=str(self.folder / "rejected.tsv"),
                    hint=f"the first one is {first.name}: {first.reason}" if first else "check the paths and the kind",
                )
            manifest = self._write_columns()
            text = json.dumps(attrs.asdict(manifest), indent=2, ensure_ascii=False)
            write_atomically(self.folder / "store.json", text.encode())
        return manifest

    def _write_columns(self) -> Manifest:
        lengths = np.empty(self.count, dtype=np.float64)
        columns: dict[str, Column] = {}
        whole = hashlib.sha256(f"didact store {SCHEMA} {self.kind}\0".encode())
        total_bytes = 0
        with self._environment.begin(buffers=True) as transaction:
            cursor = transaction.cursor(db=self._databases[ABOUT])
            for index, about in enumerate(cursor.iternext(keys=False, values=True)):
                whole.update(about[:DIGEST_BYTES])
                _, lengths[index], fields = json.loads(bytes(about[DIGEST_BYTES:]))
                for name, value in fields.items():
                    columns.setdefault(name, Column()).put(index, value)
            for data in transaction.cursor(db=self._databases[DATA]).iternext(keys=False, values=True):
                total_bytes += len(data)
        (self.folder / "columns").mkdir(exist_ok=True)
        save_array(self.folder / "columns" / "lengths.npy", lengths)
        names = tuple(sorted(columns))
        for number, name in enumerate(names):
            codes, values = columns[name].coded(self.count)
            save_array(self.folder / "columns" / f"field-{number}.npy", codes)
            text = json.dumps(values, ensure_ascii=False)
            write_atomically(self.folder / "columns" / f"field-{number}.json", text.encode())
        return Manifest(
            schema=SCHEMA,
            kind=self.kind,
            unit=self.unit,
            count=self.count,
            fingerprint=whole.hexdigest(),
            fields=names,
            total_length=float(lengths.sum()),
            total_bytes=total_bytes,
            files=self.next_file,
            rejected=self.rejected,
            inputs=self.inputs,
        )


def discard(folder: Path) -> None:
    """Deletes a store and all files that were derived from it.

    Raises:
        DataError: another process is writing to it.
    """
    if not any((folder / name).exists() for name in ("store.json", "data.mdb")):
        return  # the folder is not a store
    with lock(folder):
        (folder / "store.json").unlink(missing_ok=True)  # deleted first, so that the rest is not mistaken for a store
        for name in ("columns", "derived"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("rejected.tsv", "data.mdb"):
            (folder / name).unlink(missing_ok=True)


def difference(kind: str, inputs: Mapping[str, Any], new_kind: str, new_inputs: Mapping[str, Any]) -> str | None:
    """Describes the difference between two ingestions; None if they are equal."""
    if kind != new_kind:
        return f"it holds {kind}, not {new_kind}"
    changes = [key for key in sorted(inputs.keys() | new_inputs.keys()) if inputs.get(key) != new_inputs.get(key)]
    words = {"files": "the files differ in name, size or time of change", "manifest": "the manifest differs"}
    differences = [words.get(key, f"{key} was {inputs.get(key)!r}, is {new_inputs.get(key)!r}") for key in changes]
    return "; ".join(differences) or None


def _cell(text: str) -> str:
    return " ".join(text.split())
