"""From files to a complete store, resumable at any moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from didact.contracts import Medium
from didact.errors import DataError, SpecError, did_you_mean
from didact.ingest.files import Found, find
from didact.ingest.labels import Labels
from didact.ingest.manifest import listed
from didact.ingest.pieces import divided
from didact.ingest.reading import Reader, chunks, read_all
from didact.ingest.writing import Done, StoreWriter, difference, discard
from didact.machine.signals import stop_requests
from didact.plugins import registry
from didact.spec import to_data
from didact.store import Manifest, read_manifest

COMMIT_SECONDS, COMMIT_BYTES = 2.0, 32 << 20  # what a kill may cost
INLINE_BYTES = 64 << 20  # starting workers takes seconds, in which one process reads about as much


@attrs.frozen(kw_only=True)
class Progress:
    """How far an ingestion is.

    Attributes:
        files: dealt with, by earlier runs of the same command too.
        total: files there are.
        records: made of them.
        rejected: files that could not be read, and pieces and rows of others.
        begun: bytes dealt with of the file after those, where it is a large one that is read in pieces.
    """

    files: int
    total: int
    records: int
    rejected: int
    begun: int = 0


@attrs.frozen(kw_only=True)
class Ingested:
    """What an ingestion came to.

    Attributes:
        manifest: of the store; None where the ingestion was stopped, to go on when it is repeated.
        progress: how far it is.
        passed_over: files of other kinds.
        fresh: whether anything was done; not so where the store was complete already.
    """

    manifest: Manifest | None
    progress: Progress
    passed_over: int
    fresh: bool


def ingest(
    kind: str,
    paths: Sequence[str],
    out: str | Path,
    *,
    labels: Labels | None = None,
    manifest: str | Path | None = None,
    workers: int | None = None,
    restart: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Ingested:
    """Reads files into a store. Interrupted, by whatever, it goes on where it was when it is called again.

    Args:
        kind: of media, as a plugin registers it: ``images``, ``audio``, ``text``.
        paths: folders, tars and files; none with a manifest.
        out: the store's folder.
        labels: where labels and fields come from; None for what the medium itself knows.
        manifest: a ``.tsv`` or ``.csv`` that lists the files, in this order: a table with a column ``path``, relative
            to the table's folder, of which every other column becomes a field (``label`` is the label that probes
            use); or, as a ``.tsv``, fairseq's manifest. Listed files that cannot be read are rejected. None for paths.
        workers: processes that read; 0 reads in this one; None decides by how much there is to read.
        restart: throws away what the folder holds of an earlier ingestion.
        watch: told how far it is, after every commit.

    Raises:
        DataError: nothing there or nothing readable, a disk that is full, a folder that holds something else, or a
            manifest with a mistake in it, such as a file that it lists twice.
        SpecError: no such kind or option, or an option that cannot have its value, said before anything is read; or
            paths, ``label_from`` or ``pattern`` beside a manifest.
    """
    medium, labels, out = _medium(kind), labels or Labels(), Path(out)
    medium().check_options(labels.options)  # before anything is listed, made or, with `restart`, thrown away
    found = _found(paths, manifest, labels, medium.suffixes)
    inputs = {**to_data(labels), "files": found.fingerprint}
    if found.manifest is not None:
        inputs["manifest"] = found.manifest
    if restart:
        discard(out)
    made = _complete_already(out, medium, inputs)
    if made is not None:
        progress = Progress(files=made.files, total=made.files, records=made.count, rejected=made.rejected)
        return Ingested(manifest=made, progress=progress, passed_over=found.passed_over, fresh=False)
    if workers is None:
        workers = 0 if found.size <= INLINE_BYTES else os.cpu_count() or 1
    with StoreWriter(out, medium.kind, medium.unit, inputs) as writer:
        finished = _fill(writer, Reader(medium=medium, labels=labels), found, workers, watch)
        made = writer.complete() if finished else None
        progress = _progress(writer, found)
    return Ingested(manifest=made, progress=progress, passed_over=found.passed_over, fresh=True)


def _found(paths: Sequence[str], manifest: str | Path | None, labels: Labels, suffixes: Sequence[str]) -> Found:
    """The files to read.

    Raises:
        SpecError: something beside a manifest says which they are, or what is known of them.
    """
    if manifest is None:
        return find([str(path) for path in paths], suffixes)
    given = {"PATHS": paths, "--label-from": labels.label_from, "--pattern": labels.pattern}
    others = " and ".join(name for name, value in given.items() if value)
    if others:
        raise SpecError(
            f"--manifest says which files there are and what is known of them, and {others} would say it too",
            where=f"--manifest {manifest}",
            mend=f"leave out {others}, or leave out --manifest",
        )
    return listed(str(manifest), suffixes)


def _fill(writer: StoreWriter, reader: Reader, found: Found, workers: int, watch: Callable[[Progress], None]) -> bool:
    """Reads what is not in the store yet; False where it was asked to stop before the end."""
    watch(_progress(writer, found))
    waiting: list[Done] = []
    size, since = 0, time.monotonic()
    with stop_requests() as stop:
        files = divided(found.files[writer.next_file :], reader.medium, reader.labels, writer.place)
        for done in read_all(reader, chunks(files), workers, stop):
            waiting += done
            size += sum(len(record.data) for file in done for record in file.records)
            if stop or size >= COMMIT_BYTES or time.monotonic() - since >= COMMIT_SECONDS:
                writer.append(waiting)
                watch(_progress(writer, found))
                waiting, size, since = [], 0, time.monotonic()
            if stop:
                break
        writer.append(waiting)
        watch(_progress(writer, found))
    return writer.next_file == len(found.files)


def _progress(writer: StoreWriter, found: Found) -> Progress:
    return Progress(
        files=writer.next_file,
        total=len(found.files),
        records=writer.count,
        rejected=writer.rejected,
        begun=writer.place.offset,
    )


def _medium(kind: str) -> type[Medium]:
    media: dict[str, type[Medium]] = registry().of_kind("didact_media")
    if kind not in media:
        raise SpecError(
            f"no installed plugin knows files of kind {kind!r}",
            mend=f"{did_you_mean(kind, media)}; `didact plugins` shows which plugins are installed",
        )
    return media[kind]


def _complete_already(out: Path, medium: type[Medium], inputs: Mapping[str, Any]) -> Manifest | None:
    """The store's manifest where it is complete and made of just this.

    Raises:
        DataError: it is complete, but made of something else.
    """
    manifest = read_manifest(out)
    if manifest is None:
        return None
    other = difference(manifest.kind, manifest.inputs, medium.kind, inputs)
    if other:
        raise DataError(
            f"{out} holds a complete store already, made differently: {other}",
            where=str(out),
            mend="name another folder, or replace it with --restart",
        )
    return manifest
