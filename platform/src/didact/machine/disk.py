"""Writing into a run's folder: files that are whole or as they were, and what the disk refuses in words."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from didact.errors import RunError


@contextlib.contextmanager
def writing(
    what: str, where: Path, *, mend: str = "free some space and resume: checkpoints are whole"
) -> Iterator[None]:
    """Says of what could not be written, and why.

    Raises:
        RunError: the disk refused; it is full, say.
    """
    try:
        yield
    except OSError as error:
        # safetensors' own errors carry no number
        full = error.errno == errno.ENOSPC or "No space left" in str(error)
        reason = "the disk is full" if full else error.strerror or str(error)
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            mend = mend.replace("free some space", "make it writable")
        raise RunError(f"{what} cannot be written: {reason}", where=str(where), mend=mend) from error


def write_text(path: Path, text: str) -> None:
    """Puts a file in the place of the one before at once; where the disk refuses, that one stays.

    Raises:
        RunError: the disk refused.
    """
    partial = path.with_name(f".partial-{path.name}")
    with writing(path.name, path):
        try:
            partial.write_text(text)
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file; where the disk refuses, nothing is added.

    Raises:
        RunError: the disk refused.
    """
    with writing(path.name, path):
        before = path.stat().st_size if path.exists() else 0
        try:
            begin = "\n" if before and not _ends_a_line(path) else ""  # the machine went down in the middle of one
            with path.open("a") as file:
                file.write(f"{begin}{line}\n")
        except OSError:
            if path.exists():
                os.truncate(path, before)  # half a line would spoil the next one too
            raise


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and in those below it, sorted; a folder that is deleted meanwhile is passed over."""
    return sorted(Path(place) / name for place, _, names in os.walk(folder) for name in names)


def set_aside(path: Path) -> Path:
    """Renames a folder that is damaged, so that nobody takes it for whole; returns where it lies now.

    Raises:
        RunError: the disk refused.
    """
    aside = path.with_name(f"damaged-{path.name}")
    with writing(aside.name, aside):
        if aside.exists():
            shutil.rmtree(aside)
        path.rename(aside)
    return aside
