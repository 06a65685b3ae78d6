"""The file system under a store: who writes, whole files or none, and what its refusals mean."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

import lmdb

from didact.errors import DataError

FULL_BYTES = 1 << 20  # free space below which a disk counts as full


class telling:  # noqa: N801 - reads as a word in a `with`
    """Says what the system's refusal to write means for a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, (OSError, lmdb.Error)):
            return
        number = error.errno if isinstance(error, OSError) else None
        # LMDB gives the system's errors as text, and a write that a full disk cut short as an error of the disk
        words = ("No space left", "Disk quota exceeded", "File too large", "Input/output error")
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO) or any(word in str(error) for word in words):
            standing = next(place for place in (self.folder, *self.folder.absolute().parents) if place.exists())
            free = shutil.disk_usage(standing).free
            full = "the disk is full" if free < FULL_BYTES else "the disk is full, over a quota or faulty"
            raise DataError(
                f"{full}: {error}, {free:,} bytes free",
                where=str(self.folder),
                mend="make room, then repeat the command: what was written is kept, and it goes on from there",
            ) from error
        raise DataError(
            f"the store cannot be written: {error}",
            where=str(self.folder),
            mend="check that the folder may be written to; if its data.mdb is damaged, start over with --restart",
        ) from error


def lock(folder: Path) -> IO[str]:
    """Holds the folder for this process until it ends, however it ends."""
    # flock and not LMDB's own lock, which would make a second ingester wait without a word
    held = open(folder / ".ingesting", "w")  # noqa: SIM115 - the caller closes it
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise DataError(
            f"another process is ingesting into {folder}", where=str(folder), mend="wait for it, or name another folder"
        ) from None
    return held


def write_atomically(file: Path, data: bytes) -> None:
    """Writes all of a file or nothing of it."""
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
