"""Manifests: lists of files with fields for each file, as a table or in fairseq's format."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence

import attrs

from didact.errors import DataError, did_you_mean
from didact_stores.ingest.files import File, Found, file_at, fingerprint

PATH = "path"  # the only column that is not a field
FORMS = f"the first line of a table names its columns, including {PATH}; that of fairseq's manifest is a folder"


@attrs.frozen(kw_only=True)
class _Form:
    """The format of a manifest's rows.

    Attributes:
        folder: the folder that paths are relative to.
        path: the index of the path in a row.
        columns: the names of the other columns, in order.
        counts: whether the manifest is fairseq's; its other cell is a number of samples, which is not kept.
    """

    folder: str
    path: int
    columns: tuple[str, ...]
    counts: bool


def listed(manifest: str, suffixes: Sequence[str]) -> Found:
    """Lists the files of a manifest, in its order. Missing files have a `File.failure`.

    Args:
        manifest: a ``.tsv`` or ``.csv`` in UTF-8. It is a table with a header and a column ``path``, and every other
            column is a field. A ``.tsv`` may also be fairseq's: a folder, then one path and number of samples for each
            line. Paths and the folder are relative to the folder of the manifest.
        suffixes: the lower-case suffixes of the files that can be read.

    Raises:
        DataError: the manifest cannot be read, is malformed, lists no file or lists a file twice; names the line.
    """
    data = _bytes(manifest)
    rows = _rows(manifest, data)
    line, first = next(rows, (1, None))
    if first is None:
        raise DataError("the manifest is empty", where=manifest, hint=FORMS)
    form = _form(manifest, line, first)
    absolute = os.path.abspath(form.folder)
    lines: dict[str, int] = {}
    files: list[File] = []
    for line, cells in rows:
        _check(manifest, line, cells, form)
        path = cells.pop(form.path)
        before = lines.setdefault(os.path.normpath(os.path.join(absolute, path)), line)
        if before != line:
            raise DataError(
                f"lines {before} and {line} list the same file, {path}", where=manifest, hint="leave one of them out"
            )
        file = file_at(os.path.join(form.folder, path), path)
        failure = file.failure
        if not failure and not path.lower().endswith(tuple(suffixes)):
            failure = f"its name ends in none of {' '.join(suffixes)}"
        said = tuple(cell.strip() for cell in cells) if form.columns else ()
        files.append(attrs.evolve(file, failure=failure, columns=form.columns, cells=said))
    if not files:
        raise DataError("the manifest lists no file", where=manifest, hint="add a line for each file")
    return Found(
        files=tuple(files), skipped=0, fingerprint=fingerprint(files), manifest=hashlib.sha256(data).hexdigest()
    )


def _bytes(manifest: str) -> bytes:
    if not manifest.lower().endswith((".tsv", ".csv")):
        raise DataError(
            f"a manifest is a .tsv or a .csv, not {os.path.basename(manifest)!r}",
            where=manifest,
            hint="name it .tsv if tabs separate its cells, and .csv if commas do",
        )
    try:
        with open(manifest, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise DataError(
            f"the manifest cannot be read: {error.strerror}", where=os.path.abspath(manifest), hint="check the path"
        ) from None
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"line {line} of the manifest is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}",
            where=manifest,
            hint=f"convert it, for instance `iconv -f WINDOWS-1252 -t UTF-8 {manifest} > utf8{manifest[-4:]}`",
        ) from None
    return data


def _rows(manifest: str, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows that are not blank, each with the number of its first line. Only ``.csv`` has quotes."""
    if manifest.lower().endswith(".tsv"):
        lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig")
        yield from ((number, line.rstrip("\n").split("\t")) for number, line in enumerate(lines, 1) if line.strip())
        return
    csv.field_size_limit(max(csv.field_size_limit(), len(data)))  # the default limit is 128 KB
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"the row at line {line} is not valid CSV: {error}", where=manifest, hint="fix its quotes"
        ) from None


def _form(manifest: str, line: int, first: list[str]) -> _Form:
    beside, names = os.path.dirname(manifest), [cell.strip() for cell in first]
    if manifest.lower().endswith(".tsv") and len(names) == 1 and names[0] != PATH:
        folder = os.path.join(beside, names[0])
        if not os.path.isdir(folder):
            raise DataError(
                f"line {line} is neither the header of a table nor a folder that exists: {names[0]}",
                where=manifest,
                hint=FORMS,
            )
        return _Form(folder=folder, path=0, columns=(), counts=True)
    if PATH not in names:
        raise DataError(
            f"the manifest has no column {PATH!r}",
            where=f"{manifest}, line {line}",
            hint=f"{did_you_mean(PATH, names)}; {FORMS}",
        )
    for place, name in enumerate(names):
        if not name or name in names[:place]:
            raise DataError(
                f"two columns are called {name!r}" if name else f"column {place + 1} has no name",
                where=f"{manifest}, line {line}",
                hint="each column becomes a field: give it a name of its own, or remove it",
            )
    path = names.index(PATH)
    return _Form(folder=beside, path=path, columns=tuple(names[:path] + names[path + 1 :]), counts=False)


def _check(manifest: str, line: int, cells: list[str], form: _Form) -> None:
    if form.counts and not (len(cells) == 2 and cells[1].strip().isdecimal()):
        raise DataError(
            f"line {line} should be a path, a tab and a number of samples: {' '.join(cells)}",
            where=manifest,
            hint=FORMS,
        )
    if not form.counts and len(cells) != 1 + len(form.columns):
        raise DataError(
            f"line {line} has another number of cells ({len(cells)}) than the header ({1 + len(form.columns)})",
            where=manifest,
            hint="give it a cell for every column; it may be empty",
        )
    if not cells[form.path].strip() or "\0" in cells[form.path]:
        raise DataError(f"line {line} names no file", where=manifest, hint="give its path, or leave the line out")
