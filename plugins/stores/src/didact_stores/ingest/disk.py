"""Writes a store's files: the lock, atomic writes, and errors of the file system."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import lmdb

from didact.errors import DataError

FULL_BYTES = 1 << 20  # a disk with less free space than this is full


@contextlib.contextmanager
def write_errors(folder: Path) -> Iterator[None]:
    """Converts errors of the file system and of LMDB to errors of the store.

    Raises:
        DataError: the store cannot be written, for instance because the disk is full.
    """
    try:
        yield
    except (OSError, lmdb.Error) as error:
        if not _is_full(error):
            raise DataError(
                f"the store cannot be written: {error}",
                where=str(folder),
                hint="make the folder writable; if its data.mdb is damaged, start over with --restart",
            ) from error
        existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        free = shutil.disk_usage(existing).free
        full = "the disk is full" if free < FULL_BYTES else "the disk is full, over a quota or faulty"
        raise DataError(
            f"{full}: {error}, {free:,} bytes free",
            where=str(folder),
            hint="free some space and repeat the command: it resumes from the records that were written",
        ) from error


def lock(folder: Path) -> IO[str]:
    """Locks the folder for this process until it ends.

    Raises:
        DataError: another process holds the lock.
    """
    # flock, because LMDB's own lock would make a second ingester wait silently
    held = open(folder / ".ingesting", "w")  # noqa: SIM115 - the caller closes it
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise DataError(
            f"another process is ingesting into {folder}",
            where=str(folder),
            hint="wait until it ends, or choose another folder",
        ) from None
    return held


def write_atomically(file: Path, data: bytes) -> None:
    """Replaces the content of a file in one step; after a crash, the file has the old or the new content."""
    beside = file.with_name(file.name + ".writing")
    with open(beside, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_full(error: OSError | lmdb.Error) -> bool:
    number = error.errno if isinstance(error, OSError) else None
    # LMDB reports system errors as text, and reports a write cut short by a full disk as an input/output error
    words = ("No space left", "Disk quota exceeded", "File too large", "Input/output error")
    return number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO) or any(word in str(error) for word in words)
