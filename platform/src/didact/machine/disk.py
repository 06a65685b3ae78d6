"""Writes files of a run's folder: a file is written completely or not changed, and a disk error is one clear error."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from didact.errors import RunError


@contextlib.contextmanager
def writing(
    what: str, where: Path, *, hint: str = "free some space and resume: checkpoints are whole"
) -> Iterator[None]:
    """Converts an ``OSError`` inside the ``with`` block to a `RunError` that names what could not be written."""
    try:
        yield
    except OSError as error:
        # safetensors' own errors have no errno
        full = error.errno == errno.ENOSPC or "No space left" in str(error)
        reason = "the disk is full" if full else error.strerror or str(error)
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            hint = hint.replace("free some space", "make it writable")
        raise RunError(f"{what} cannot be written: {reason}", where=str(where), hint=hint) from error


def write_text(path: Path, text: str) -> None:
    """Replaces a file atomically; if writing fails, raises a `RunError` and leaves the file unchanged."""
    partial = path.with_name(f".partial-{path.name}")
    with writing(path.name, path):
        try:
            partial.write_text(text)
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def append_line(path: Path, line: str) -> None:
    """Appends a line to a file; if writing fails, raises a `RunError` and appends nothing."""
    with writing(path.name, path), path.open("a+b") as file:
        before = file.seek(0, os.SEEK_END)
        file.seek(max(0, before - 1))
        ended = file.read(1) in (b"", b"\n")  # false if the machine crashed in the middle of a line
        try:
            file.write(f"{'' if ended else chr(10)}{line}\n".encode())
            file.flush()
        except OSError:
            os.truncate(path, before)  # a partial line would also corrupt the next line
            raise


def set_aside(path: Path) -> Path:
    """Renames a damaged folder, so that it is not used again; returns the new path."""
    aside = path.with_name(f"damaged-{path.name}")
    with writing(aside.name, aside):
        if aside.exists():
            shutil.rmtree(aside)
        path.rename(aside)
    return aside


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
