"""Converts files to a complete store; an interrupted ingestion can be resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from didact.errors import DataError, SpecError, did_you_mean
from didact.machine.processes import stop_requests
from didact.plugins import registry
from didact.serialization import to_data
from didact_stores.ingest.files import Found, find
from didact_stores.ingest.labels import Labels
from didact_stores.ingest.manifest import listed
from didact_stores.ingest.pieces import divided
from didact_stores.ingest.reading import Reader, chunks, read_all
from didact_stores.ingest.writing import Done, StoreWriter, difference, discard
from didact_stores.media import Medium
from didact_stores.store import Manifest, read_manifest

COMMIT_SECONDS, COMMIT_BYTES = 2.0, 32 << 20  # largest amount of work that a kill can lose
INLINE_BYTES = 64 << 20  # with less data, one process is faster than starting workers


@attrs.frozen(kw_only=True)
class Progress:
    """The progress of an ingestion.

    Attributes:
        files: the number of finished files, including those of earlier runs of the same command.
        total: the number of files.
        records: the number of records written so far.
        rejected: the number of files that could not be read, and of rejected pieces and rows of other files.
        begun: the number of bytes read of the next file, if it is read in pieces.
    """

    files: int
    total: int
    records: int
    rejected: int
    begun: int = 0


@attrs.frozen(kw_only=True)
class Ingested:
    """The result of an ingestion.

    Attributes:
        manifest: the manifest of the store; None if the ingestion was stopped and can be resumed.
        progress: the progress at the end.
        skipped: the number of files of other kinds.
        fresh: whether files were ingested; False if the store was already complete.
    """

    manifest: Manifest | None
    progress: Progress
    skipped: int
    fresh: bool


def ingest(
    kind: str,
    paths: Sequence[str],
    out: str | Path,
    *,
    labels: Labels | None = None,
    manifest: str | Path | None = None,
    num_workers: int | None = None,
    restart: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Ingested:
    """Reads files into a store. After an interruption, the same call resumes.

    Args:
        kind: the kind of medium, as registered by a plugin: ``images``, ``audio``, ``text``.
        paths: folders, tars and files; empty with a manifest.
        out: the folder of the store.
        labels: the source of labels and fields; None keeps only those that the medium gives.
        manifest: a ``.tsv`` or ``.csv`` that lists the files in order. It is a table with a column ``path``, relative
            to the folder of the table; every other column becomes a field (``label`` is the label that probes use). A
            ``.tsv`` may also be a manifest of fairseq. Listed files that cannot be read are rejected. None with paths.
        num_workers: the number of reader processes; 0 reads in this process; None uses all cores above 64 MB, else 0.
        restart: whether to delete the records of an earlier ingestion first.
        watch: called with the progress after every commit.

    Raises:
        DataError: there are no files or none is readable, the disk is full, the folder holds something else, or the
            manifest is malformed, for instance because it lists a file twice.
        SpecError: the kind or an option is unknown, an option's value is not allowed, or a manifest is combined with
            paths, ``label_from`` or ``pattern``. It is raised before any file is read.
    """
    medium, labels, out = medium_of(kind), labels or Labels(), Path(out)
    medium().check_options(labels.options)  # checks before any file is listed, written or, with `restart`, deleted
    found = _found(paths, manifest, labels, medium.suffixes)
    inputs = {**to_data(labels), "files": found.fingerprint}
    if found.manifest is not None:
        inputs["manifest"] = found.manifest
    if restart:
        discard(out)
    made = _complete_already(out, medium, inputs)
    if made is not None:
        progress = Progress(files=made.files, total=made.files, records=made.count, rejected=made.rejected)
        return Ingested(manifest=made, progress=progress, skipped=found.skipped, fresh=False)
    if num_workers is None:
        num_workers = 0 if found.size <= INLINE_BYTES else os.cpu_count() or 1
    with StoreWriter(out, medium.kind, medium.unit, inputs) as writer:
        finished = _fill(writer, Reader(medium=medium, labels=labels), found, num_workers, watch)
        made = writer.complete() if finished else None
        progress = _progress(writer, found)
    return Ingested(manifest=made, progress=progress, skipped=found.skipped, fresh=True)


def _found(paths: Sequence[str], manifest: str | Path | None, labels: Labels, suffixes: Sequence[str]) -> Found:
    """Finds the files to read.

    Raises:
        SpecError: a manifest is combined with other sources of files, labels or fields.
    """
    if manifest is None:
        return find([str(path) for path in paths], suffixes)
    given = {"PATHS": paths, "--label-from": labels.label_from, "--pattern": labels.pattern}
    others = " and ".join(name for name, value in given.items() if value)
    if others:
        raise SpecError(
            f"--manifest lists the files and their fields, so it cannot be combined with {others}",
            where=f"--manifest {manifest}",
            hint=f"leave out {others}, or leave out --manifest",
        )
    return listed(str(manifest), suffixes)


def _fill(
    writer: StoreWriter, reader: Reader, found: Found, num_workers: int, watch: Callable[[Progress], None]
) -> bool:
    """Reads the files that are not in the store yet; returns False if a stop was requested before the end."""
    watch(_progress(writer, found))
    waiting: list[Done] = []
    size, since = 0, time.monotonic()
    with stop_requests() as stop:
        files = divided(found.files[writer.next_file :], reader.medium, reader.labels, writer.place)
        for done in read_all(reader, chunks(files), num_workers, stop):
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


def medium_of(kind: str) -> type[Medium]:
    """The medium of a kind of files: the component with that short name.

    Raises:
        SpecError: no plugin or several plugins register the kind.
    """
    found = registry().of_kind(Medium, kind)  # type: ignore[type-abstract]
    if len(found) > 1:
        raise SpecError(
            f"several plugins read files of kind {kind!r}: {' and '.join(found)}",
            hint="leave all but one of them out with DIDACT_SKIP",
        )
    if not found:
        media = [name.partition("/")[2] for name in registry().of_kind(Medium)]  # type: ignore[type-abstract]
        raise SpecError(
            f"no installed plugin reads files of kind {kind!r}",
            hint=f"{did_you_mean(kind, media)}; `didact plugins` shows which plugins are installed",
        )
    (medium,) = found.values()
    return medium


def _complete_already(out: Path, medium: type[Medium], inputs: Mapping[str, Any]) -> Manifest | None:
    """Reads the manifest of a complete store that was made from the same inputs; None if the store is not complete.

    Raises:
        DataError: the store is complete, but was made from other inputs.
    """
    manifest = read_manifest(out)
    if manifest is None:
        return None
    other = difference(manifest.kind, manifest.inputs, medium.kind, inputs)
    if other:
        raise DataError(
            f"{out} already holds a complete store of other inputs: {other}",
            where=str(out),
            hint="choose another folder, or replace the store with --restart",
        )
    return manifest
