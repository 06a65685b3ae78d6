"""Reads and checks files, in this process or in workers, in the order in which they were found."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import IO, TypeAlias

import attrs

from didact.errors import DataError, DidactError
from didact.machine.processes import StopRequest
from didact_stores.ingest import workers as processes
from didact_stores.ingest.files import UNREADABLE, File, is_packed, unpacked
from didact_stores.ingest.labels import Labels
from didact_stores.ingest.pieces import Divisible
from didact_stores.ingest.writing import Done, Rejected, digest, marked
from didact_stores.media import Medium

CHUNK_FILES, CHUNK_BYTES = 64, 4 << 20  # limits of one task of a worker
CHUNKS_AHEAD = 4  # number of tasks in progress per worker
ATTEMPTS = 3  # attempts to read a file before it is rejected; the system may kill a worker when memory is short

Pending: TypeAlias = "Future[list[Done]]"


@attrs.frozen(kw_only=True, eq=False)
class Chunk:
    """The files of one task, and the bytes of files that only the main process can read."""

    files: tuple[File, ...]
    contents: tuple[bytes | None, ...]


@attrs.frozen(kw_only=True, eq=False)
class Reader:
    """Converts files to records. It is pickled for the workers.

    Attributes:
        medium: the medium of the files.
        labels: the source of the files' labels and fields.
    """

    medium: type[Medium]
    labels: Labels

    def read(self, chunk: Chunk) -> list[Done]:
        """Reads each file of the chunk and returns the results.

        Raises:
            SpecError: the medium refuses an option that ``check_options`` accepted.
        """
        medium = self.medium()
        with _Opened() as opened:
            return [self._done(medium, file, content, opened) for file, content in _pairs(chunk)]

    def _done(self, medium: Medium, file: File, content: bytes | None, opened: _Opened) -> Done:
        try:
            if file.failure:
                raise DataError(file.failure)
            data = content if content is not None else opened.bytes_of(file)
            said = self.labels.fields(file)  # before the medium's own check, which is slower
            if file.piece is None:
                found = medium.records(data, file.name, self.labels.options)
            else:
                assert isinstance(medium, Divisible)
                found = medium.records_of(data, file.name, self.labels.options, file.piece.begin)
            rejected = tuple(Rejected(name=one.name, reason=one.fault) for one in found if one.fault)
            taken = [marked(one) for one in found if not one.fault]
            records = [attrs.evolve(one, fields=self.labels.joined(one.fields, said)) for one in taken]
            odd = next((one.length for one in records if not (math.isfinite(one.length) and one.length > 0)), None)
            if odd is not None:
                raise DataError(f"its length is {odd:g} {medium.unit}")
        except DataError as error:
            return _reject(file, error.what)
        except (DidactError, MemoryError):
            raise
        except UNREADABLE as error:
            return _reject(file, f"cannot be read: {getattr(error, 'strerror', None) or error}")
        except Exception as error:  # foreign code: one file must not stop the ingestion of millions
            return _reject(file, f"{type(error).__name__}: {error}")
        digests = tuple(digest(record) for record in records)
        end = file.piece.end if file.piece else None
        return Done(records=tuple(records), digests=digests, rejected=rejected, end=end)


def chunks(files: Iterable[File]) -> Iterator[Chunk]:
    """Groups files into tasks for workers; members of compressed tars are unpacked here, in order."""
    packed: dict[str, bool] = {}
    held: list[tuple[File, bytes | None]] = []
    size = 0
    with _Opened() as opened:
        for file in files:
            content = None
            if file.member and not file.failure:
                if file.path not in packed:
                    packed = {file.path: is_packed(file.path)}  # members of one tar are adjacent
                if packed[file.path]:
                    try:
                        content = opened.bytes_of(file)
                    except (DataError, *UNREADABLE) as error:
                        file = attrs.evolve(file, failure=f"cannot be read: {error}")
            held.append((file, content))
            size += file.size
            if len(held) == CHUNK_FILES or size >= CHUNK_BYTES or file.piece is not None:
                yield _chunk(held)
                held, size = [], 0
    if held:
        yield _chunk(held)


def read_all(reader: Reader, pieces: Iterable[Chunk], num_workers: int, stop: StopRequest) -> Iterator[list[Done]]:
    """Yields the results of all chunks in order, for any number of workers.

    Args:
        reader: the reader of the files.
        pieces: all chunks.
        num_workers: the number of reader processes; 0 reads in this process.
        stop: a request to stop, which ends the wait for workers.

    Raises:
        SpecError: the medium refuses an option that ``check_options`` accepted.
    """
    if num_workers == 0:
        yield from (reader.read(chunk) for chunk in pieces)
        return
    pending: deque[tuple[Chunk, Pending]] = deque()
    pool = _pool(reader, num_workers)
    iterator = iter(pieces)
    try:
        while True:
            for chunk in itertools.islice(iterator, CHUNKS_AHEAD * num_workers - len(pending)):
                pending.append((chunk, processes.submit(pool, reader.read, chunk)))
            if not pending:
                return
            try:
                done = processes.result(pool, pending[0][1], stop)
            except BrokenProcessPool:
                processes.end(pool)
                yield from _one_by_one(reader, pending, stop)
                pending.clear()
                pool = _pool(reader, num_workers)
                continue
            pending.popleft()
            yield done
    except processes.StoppedError:
        return
    finally:
        processes.end(pool)


def _one_by_one(reader: Reader, pending: Iterable[tuple[Chunk, Pending]], stop: StopRequest) -> Iterator[list[Done]]:
    """Reads the pending files one by one after a worker died, to find the file that crashed the worker."""
    pool = _pool(reader, 1)
    try:
        for chunk, future in pending:
            if future.done() and not future.cancelled() and future.exception() is None:
                yield future.result()
                continue
            found: list[Done] = []
            for file, content in _pairs(chunk):
                alone = _chunk([(file, content)])
                for _ in range(ATTEMPTS):
                    try:
                        found += processes.result(pool, processes.submit(pool, reader.read, alone), stop)
                        break
                    except BrokenProcessPool:
                        processes.end(pool)
                        pool = _pool(reader, 1)
                else:
                    reason = "its decoder crashes or runs out of memory, and ends the process"
                    found.append(_reject(file, reason))
            yield found
    finally:
        processes.end(pool)


def _pool(reader: Reader, num_workers: int) -> ProcessPoolExecutor:
    return processes.start(num_workers, __name__, reader.medium.__module__)


class _Opened:
    """Keeps tars open while their members are read."""

    def __init__(self) -> None:
        self._streams: dict[str, IO[bytes]] = {}

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *raised: object) -> None:
        for stream in self._streams.values():
            stream.close()

    def bytes_of(self, file: File) -> bytes:
        """Reads the bytes of a file, of a piece of a file, or of a member of a tar."""
        if file.piece is not None and file.piece.content is not None:
            return file.piece.content
        if not file.member:
            with open(file.path, "rb") as single:
                if file.piece is None:
                    return single.read()
                single.seek(file.piece.begin.offset)
                return single.read(file.size)
        if file.path not in self._streams:
            for stream in self._streams.values():
                stream.close()
            self._streams = {file.path: unpacked(file.path)}
        stream = self._streams[file.path]
        stream.seek(file.offset)
        data = stream.read(file.size)
        if len(data) < file.size:
            raise DataError(f"the tar ends within it, after {len(data)} of {file.size} bytes", where=file.name)
        return data


def _pairs(chunk: Chunk) -> Iterator[tuple[File, bytes | None]]:
    return zip(chunk.files, chunk.contents, strict=True)


def _chunk(pairs: Sequence[tuple[File, bytes | None]]) -> Chunk:
    return Chunk(files=tuple(file for file, _ in pairs), contents=tuple(content for _, content in pairs))


def _reject(file: File, reason: str) -> Done:
    if file.piece is None:
        return Done(rejected=(Rejected(name=file.name, reason=reason),))
    first = file.piece.begin.offset
    where = f"bytes {first:,} to {first + file.size:,} are left out"
    return Done(rejected=(Rejected(name=file.name, reason=f"{reason}; {where}"),), end=file.piece.end)
