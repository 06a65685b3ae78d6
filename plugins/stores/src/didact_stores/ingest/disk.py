"""Writing a store's files: the lock, atomic writes, and errors of the file system."""

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

FULL_BYTES = 1 << 20  # free space below which a disk counts as full


@contextlib.contextmanager
def write_errors(folder: Path) -> Iterator[None]:
    """Turns errors of the file system and of LMDB into errors of the store.

    Raises:
        DataError: the store cannot be written, because the disk is full, for instance.
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
    # flock and not LMDB's own lock, which would make a second ingester wait silently
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
    """Replaces a file by new content in one step; after a crash it is the old or the new one."""
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
    # LMDB reports the system's errors as text, and a write that a full disk cut short as an input/output error
    words = ("No space left", "Disk quota exceeded", "File too large", "Input/output error")
    return number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO) or any(word in str(error) for word in words)
