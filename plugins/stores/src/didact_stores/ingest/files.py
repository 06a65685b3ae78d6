"""Finds the files to read in folders, in tars, or by name; the order is always the same."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import posixpath
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import attrs

from didact.errors import DataError

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
UNREADABLE = (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError)  # raised by broken or forbidden files


@attrs.frozen(kw_only=True)
class Place:
    """A place in a file.

    Attributes:
        offset: bytes from the beginning of the file; for a packed file, unpacked bytes.
        line: the number of the line that begins there, from 1.
    """

    offset: int = 0
    line: int = 1


@attrs.frozen(kw_only=True)
class Piece:
    """A part of a large file.

    Attributes:
        begin: the beginning of the piece.
        end: the beginning of the next piece; None for the last piece.
        content: the bytes of a packed file, which can only be read sequentially; None if the bytes are read from the
            file.
    """

    begin: Place
    end: Place | None
    content: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class File:
    """A file on disk, a piece of a file, or a member of a tar.

    Attributes:
        path: the path of the file or the tar, as given or below a given folder.
        inside: the path inside the given folder or tar, with slashes; the name of a file that was given by itself; the
            path in the manifest of a file that a manifest lists.
        member: whether the file is a member of a tar.
        offset: the offset of its first byte in the unpacked tar.
        size: the size in bytes.
        changed: the time of the last change, in nanoseconds for files and in seconds for members.
        failure: the reason why the file cannot be opened; empty if it can be opened.
        piece: the piece of a large file; None for the whole file. ``size`` is then the size of the piece.
        columns: the columns of the manifest that lists the file, without the path; all its files share one tuple.
        cells: the values of the manifest in these columns; empty without a manifest.
    """

    path: str
    inside: str
    member: bool = False
    offset: int = 0
    size: int = 0
    changed: int = 0
    failure: str = ""
    piece: Piece | None = None
    columns: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()

    @property
    def listed(self) -> dict[str, str]:
        """The fields that a manifest gives the file, without empty ones."""
        return {name: cell for name, cell in zip(self.columns, self.cells, strict=True) if cell}

    @property
    def name(self) -> str:
        """The name of the file in messages."""
        return f"{_text(self.path)}/{self.inside}" if self.member else _text(self.path)


@attrs.frozen(kw_only=True)
class Found:
    """The files to read, and a summary of the others.

    Attributes:
        files: the files, in order.
        skipped: the number of files of other kinds.
        fingerprint: SHA-256 over the names, sizes and times of change.
        manifest: SHA-256 of the manifest that lists the files; None without a manifest.
    """

    files: tuple[File, ...]
    skipped: int
    fingerprint: str
    manifest: str | None = None

    @property
    def size(self) -> int:
        """The total size of all files, in bytes."""
        return sum(file.size for file in self.files)


def find(paths: Sequence[str], suffixes: Sequence[str]) -> Found:
    """Finds the files below the given paths.

    Args:
        paths: folders, which are searched recursively with the tars in them; tars; single files.
        suffixes: the lower-case suffixes of the files to find. Hidden files (``.name``) are skipped.

    Raises:
        DataError: a path does not exist, or contains no matching file.
    """
    files: list[File] = []
    skipped = 0
    for path in paths:
        others: Counter[str] = Counter()
        found = list(_search(path, tuple(suffixes), others))
        if not found:
            seen = ", ".join(f"{count} × {suffix or 'no suffix'}" for suffix, count in others.most_common(5))
            raise DataError(
                f"there is nothing to ingest in {path}" + (f", only other files ({seen})" if seen else ": it is empty"),
                where=path,
                hint=f"the file names must end in {' '.join(suffixes)}",
            )
        files += found
        skipped += others.total()
    return Found(files=tuple(files), skipped=skipped, fingerprint=fingerprint(files))


def fingerprint(files: Iterable[File]) -> str:
    """SHA-256 over the files' names, sizes and times of change, in hexadecimal."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.inside}\0{file.offset}\0{file.size}\0{file.changed}\0{file.failure}\n".encode())
    return whole.hexdigest()


def file_at(path: str, inside: str) -> File:
    """Describes a single file with one call of ``os.stat``; `File.failure` holds the reason if this fails.

    Args:
        path: the path of the file.
        inside: see `File`.
    """
    inside = _text(inside).replace(os.sep, "/")
    try:
        known = os.stat(path)
    except OSError as error:
        return File(path=path, inside=inside, failure=f"cannot be read: {error.strerror}")
    return File(path=path, inside=inside, size=known.st_size, changed=known.st_mtime_ns)


def unpacked(path: str) -> IO[bytes]:
    """Opens a tar and decompresses it; seeking backwards is slow."""
    return cast("IO[bytes]", _opener(path)(path, "rb"))


def is_packed(path: str) -> bool:
    """Whether a tar is compressed, so that it can only be read sequentially."""
    return _opener(path) is not open


def _opener(path: str) -> Callable[..., Any]:
    with open(path, "rb") as stream:
        magic = stream.read(6)
    for start, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open)):
        if magic.startswith(start):
            return opener
    return open


def _search(path: str, suffixes: tuple[str, ...], others: Counter[str]) -> Iterator[File]:
    if os.path.isdir(path):
        yield from _folder(path, suffixes, others)
    elif path.lower().endswith(TARS) and os.path.isfile(path):
        yield from _tar(path, suffixes, others)
    elif os.path.isfile(path):
        if not path.lower().endswith(suffixes):
            others[Path(path).suffix.lower()] += 1
            return
        yield file_at(path, os.path.basename(path))
    else:
        raise DataError(f"there is no file or folder {path!r}", where=os.path.abspath(path), hint="check the path")


def _folder(root: str, suffixes: tuple[str, ...], others: Counter[str]) -> Iterator[File]:
    unlisted: list[OSError] = []
    visited: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, onerror=unlisted.append, followlinks=True):
        known = os.stat(folder)
        if (known.st_dev, known.st_ino) in visited:  # circular links
            subfolders.clear()
            continue
        visited.add((known.st_dev, known.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.startswith(".") or not name.lower().endswith((*suffixes, *TARS)):
                others[Path(name).suffix.lower()] += 1
            elif name.lower().endswith(TARS):
                yield from _tar(path, suffixes, others)
            else:
                yield file_at(path, os.path.relpath(path, root))
    for error in unlisted:
        folder = str(error.filename)
        yield File(
            path=folder, inside=_text(os.path.relpath(folder, root)), failure=f"cannot be listed: {error.strerror}"
        )


def _tar(path: str, suffixes: tuple[str, ...], others: Counter[str]) -> Iterator[File]:
    try:
        with unpacked(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                inside = _text(posixpath.normpath(member.name).lstrip("/"))
                if member.isdir():
                    continue
                if posixpath.basename(inside).startswith(".") or not inside.lower().endswith(suffixes):
                    others[Path(inside).suffix.lower()] += 1
                    continue
                plain = member.isfile() and not member.issparse()
                yield File(
                    path=path,
                    inside=inside,
                    member=True,
                    offset=member.offset_data,
                    size=member.size,
                    changed=int(member.mtime),
                    failure="" if plain else "is a link or a sparse member, not a plain file",
                )
    except UNREADABLE as error:
        yield File(path=path, inside="", failure=f"the tar cannot be read to its end: {error}")


def _text(name: str) -> str:
    """Converts a name to valid Unicode; invalid bytes are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
