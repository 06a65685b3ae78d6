"""Writing a store: records and the progress behind them go into LMDB in one transaction, so no kill parts them."""

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

from didact.contracts import Record
from didact.errors import DataError
from didact.ingest.columns import Column, save_array
from didact.ingest.disk import lock, telling, write_atomically
from didact.ingest.files import Place
from didact.store import ABOUT, DATA, DIGEST_BYTES, PROGRESS, SCHEMA, Manifest, record_key

OWN_FILES = frozenset({"data.mdb", "columns", "rejected.tsv", "store.json", ".ingesting"})
SUSPECT = "suspect"  # the field that a record's `suspect` becomes
FIRST_MAP_BYTES = 1 << 30  # of address space; doubled whenever it is full


@attrs.frozen(kw_only=True)
class Rejected:
    """A file that could not be read, or a part of one, and why."""

    name: str
    reason: str


@attrs.frozen(kw_only=True, eq=False)
class Done:
    """What became of one file, or of a piece of one: its records, or why it has none.

    Attributes:
        records: taken from the file.
        digests: of each record, SHA-256; see `digest`.
        rejected: the file where it could not be read; else what in it could not be taken.
        end: where in the same file the next piece begins; None where the file is done with.
    """

    records: tuple[Record, ...] = ()
    digests: tuple[bytes, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    end: Place | None = None


def write_store(folder: Path, kind: str, unit: str, records: Iterable[Record]) -> Manifest:
    """Writes records that are at hand into a new store.

    Raises:
        DataError: a record has a fault, the folder holds a store already, or the disk is full.
    """
    with StoreWriter(folder, kind, unit, inputs={"records": "given"}) as writer:
        if writer.next_file:
            raise DataError(f"{folder} holds a store already", where=str(folder), mend="remove it, or name another")
        kept = tuple(marked(record) for record in records)
        faulty = next((record for record in kept if record.fault), None)
        if faulty is not None:
            raise DataError(faulty.fault, where=faulty.name, mend="leave the record out")
        writer.append([Done(records=kept, digests=tuple(digest(record) for record in kept))])
        return writer.complete()


def marked(record: Record) -> Record:
    """The record with what makes it doubtful among its fields."""
    return attrs.evolve(record, fields={**record.fields, SUSPECT: record.suspect}) if record.suspect else record


def digest(record: Record) -> bytes:
    """SHA-256 of a record's bytes and fields; its name and place in the file system are not part of what it is."""
    fields = json.dumps(dict(record.fields), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(fields.encode() + b"\0" + record.data).digest()


class StoreWriter:
    """A store while it is being made. Use it in a ``with``; only one process at a time can.

    Args:
        folder: of the store; made where it does not exist.
        kind: of media.
        unit: of lengths.
        inputs: what it is made from, as plain data. A half-written store goes on only with the same.
        map_bytes: LMDB's first map.

    Attributes:
        next_file: how many files were dealt with, by this process and those before it.
        place: where in the file after those to go on: at its beginning, or behind the pieces that are in.
        count: records so far.
        rejected: files so far that could not be read, and pieces and rows of others.

    Raises:
        DataError: the folder is half written from other inputs, complete, in use, or no store at all.
    """

    def __init__(
        self, folder: Path, kind: str, unit: str, inputs: Mapping[str, Any], map_bytes: int = FIRST_MAP_BYTES
    ) -> None:
        self.folder, self.kind, self.unit, self.inputs = folder, kind, unit, dict(inputs)
        self.next_file = self.count = self.rejected = 0
        self.place = Place()
        self._map_bytes = map_bytes

    def __enter__(self) -> Self:
        with telling(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            foreign = [entry.name for entry in self.folder.iterdir() if entry.name not in OWN_FILES]
            if foreign and not (self.folder / "data.mdb").exists():
                raise DataError(
                    f"{self.folder} is a folder with other files in it ({sorted(foreign)[0]})",
                    where=str(self.folder),
                    mend="name a folder that does not exist yet",
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
                        f"{self.folder} is half written, from something else: {other}",
                        where=str(self.folder),
                        mend="repeat the command that began it, or start over with --restart",
                    )
            elif before != now:
                state = [0, 0, 0]  # nothing was readable then: nothing is lost by beginning anew
            transaction.put(b"inputs", json.dumps(now).encode(), db=progress)
            transaction.put(b"state", json.dumps(state).encode(), db=progress)
            self._set(state)

    def _set(self, state: Sequence[int]) -> None:
        self.next_file, self.count, self.rejected, *place = state  # no place: at the beginning of the next file
        self.place = Place(offset=place[0], line=place[1]) if place else Place()

    def append(self, files: Iterable[Done]) -> None:
        """Writes what became of the next files, in one transaction: all of it or nothing.

        Raises:
            DataError: the disk is full. What was appended before is kept.
        """
        files = list(files)
        with telling(self.folder):
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
        """What could not be read, in its order."""
        with self._environment.begin() as transaction:
            for number in range(self.rejected):
                line = transaction.get(b"rejected" + record_key(number), b"", db=self._databases[PROGRESS])
                name, reason = json.loads(line)
                yield Rejected(name=name, reason=reason)

    def complete(self) -> Manifest:
        """Writes the columns, the list of rejected files, and at last ``store.json``.

        Raises:
            DataError: no record was readable, or the disk is full.
        """
        with telling(self.folder):
            lines = [f"{_cell(one.name)}\t{_cell(one.reason)}\n" for one in self.rejections()]
            write_atomically(self.folder / "rejected.tsv", "".join(["file\treason\n", *lines]).encode())
            if self.count == 0:
                first = next(self.rejections(), None)
                raise DataError(
                    f"not one of {self.next_file} files could be read as {self.kind}",
                    where=str(self.folder / "rejected.tsv"),
                    mend=f"the first: {first.name}: {first.reason}" if first else "check the paths and the kind",
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
    """Removes what a store consists of, and what was derived from it.

    Raises:
        DataError: another process is writing to it.
    """
    if not any((folder / name).exists() for name in ("store.json", "data.mdb")):
        return  # whatever it is, it is no store
    with lock(folder):
        (folder / "store.json").unlink(missing_ok=True)  # first: what is left is not mistaken for a store
        for name in ("columns", "derived"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("rejected.tsv", "data.mdb"):
            (folder / name).unlink(missing_ok=True)


def difference(kind: str, inputs: Mapping[str, Any], new_kind: str, new_inputs: Mapping[str, Any]) -> str | None:
    """What distinguishes two ingestions, in words; None where nothing does."""
    if kind != new_kind:
        return f"it holds {kind}, not {new_kind}"
    changes = [key for key in sorted(inputs.keys() | new_inputs.keys()) if inputs.get(key) != new_inputs.get(key)]
    words = {"files": "the files differ in name, size or time of change", "manifest": "the manifest differs"}
    said = [words.get(key, f"{key} was {inputs.get(key)!r}, is {new_inputs.get(key)!r}") for key in changes]
    return "; ".join(said) or None


def _cell(text: str) -> str:
    return " ".join(text.split())
