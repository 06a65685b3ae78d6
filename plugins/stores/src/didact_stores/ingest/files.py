"""Finding the files to read: in folders, in tars, or named one by one, always in the same order."""

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
        offset: bytes from the file's beginning; of a packed file, unpacked bytes.
        line: number of the line that begins there, from 1.
    """

    offset: int = 0
    line: int = 1


@attrs.frozen(kw_only=True)
class Piece:
    """A part of a large file.

    Attributes:
        begin: its beginning.
        end: the beginning of the next piece; None for the last.
        content: the bytes of a packed file, which can only be read from front to back; None where they are read from
            the file.
    """

    begin: Place
    end: Place | None
    content: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class File:
    """A file on disk, a piece of one, or a member of a tar.

    Attributes:
        path: of the file or of the tar, as given or below a given folder.
        inside: its path inside the given folder or tar, with slashes; of a file named by itself, its name; of one that
            a manifest lists, its path there.
        member: whether it is a member of a tar.
        offset: of its first byte in the unpacked tar.
        size: in bytes.
        changed: time of its last change, in nanoseconds for files and seconds for members.
        failure: why it cannot be opened; empty where it can.
        piece: of a large file; None for the whole file. ``size`` is then the piece's.
        columns: of the manifest that lists it, without the path; one tuple that all its files share.
        cells: the manifest's values in these columns; empty without a manifest.
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
        """The fields that a manifest gives it, without empty ones."""
        return {name: cell for name, cell in zip(self.columns, self.cells, strict=True) if cell}

    @property
    def name(self) -> str:
        """The file's name in messages."""
        return f"{_text(self.path)}/{self.inside}" if self.member else _text(self.path)


@attrs.frozen(kw_only=True)
class Found:
    """The files to read.

    Attributes:
        files: in order.
        skipped: number of other files among them.
        fingerprint: SHA-256 over names, sizes and times of change.
        manifest: SHA-256 of the manifest that lists them; None without a manifest.
    """

    files: tuple[File, ...]
    skipped: int
    fingerprint: str
    manifest: str | None = None

    @property
    def size(self) -> int:
        """Total of all files, in bytes."""
        return sum(file.size for file in self.files)


def find(paths: Sequence[str], suffixes: Sequence[str]) -> Found:
    """Finds the files below paths.

    Args:
        paths: folders, which are searched recursively with the tars in them; tars; single files.
        suffixes: of the files to find, lower-case. Hidden files (``.name``) are skipped.

    Raises:
        DataError: a path does not exist, or contains no such file.
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
    """A single file, with one call of ``os.stat``. If that fails, `File.failure` holds the reason.

    Args:
        path: of the file.
        inside: see `File`.
    """
    inside = _text(inside).replace(os.sep, "/")
    try:
        known = os.stat(path)
    except OSError as error:
        return File(path=path, inside=inside, failure=f"cannot be read: {error.strerror}")
    return File(path=path, inside=inside, size=known.st_size, changed=known.st_mtime_ns)


def unpacked(path: str) -> IO[bytes]:
    """A tar's bytes without its compression. Seeking backwards is slow."""
    return cast("IO[bytes]", _opener(path)(path, "rb"))


def is_packed(path: str) -> bool:
    """Whether a tar is compressed, so that it can only be read from front to back."""
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
        if (known.st_dev, known.st_ino) in visited:  # links in a circle
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
    """A name as valid Unicode; invalid bytes are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
