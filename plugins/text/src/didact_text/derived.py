"""What is computed once from a store, and kept beside it in ``STORE/derived``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock

from didact import DataError
from didact.spec import fingerprint
from didact.store import Store


def place(store: Store, what: str, *made_of: Any) -> Path:
    """The folder for ``what`` computed from the store; another folder for other content or other settings.

    Args:
        store: that it is computed from, and kept beside.
        what: the folder's readable name.
        made_of: plain data; everything else that it depends on.
    """
    return store.path / "derived" / f"{what}-{fingerprint([store.fingerprint, *made_of])[:16]}"


def derive(folder: Path, make: Callable[[Path], None]) -> None:
    """Fills ``folder`` unless it is there already. It appears complete or not at all, whatever is killed when.

    Args:
        folder: as `place` names it. Of several processes that want it, one makes it and the others wait.
        make: writes the files into the empty folder that it is given.

    Raises:
        DataError: the disk is full or may not be written to.
    """
    if folder.is_dir():
        return
    try:
        folder.parent.mkdir(exist_ok=True)
        with filelock.FileLock(folder.with_name(folder.name + ".lock")):
            if not folder.is_dir():  # else another process made it while this one waited
                _make(folder, make)
    except OSError as error:
        raise DataError(
            f"{folder.name} cannot be written: {error.strerror or error}",
            where=str(folder.parent),
            mend="what is computed from a store is kept beside it: make room there, or allow writing",
        ) from error


def require(folder: Path, what: str) -> Path:
    """``folder``, where it was made.

    Raises:
        DataError: it was not; ``what`` says what is missing.
    """
    if not folder.is_dir():
        raise DataError(
            f"{what} is not there yet",
            where=str(folder),
            mend="call the source's prepare() once before reading it; `didact run` does that itself",
        )
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir()
    try:
        make(partial)
        for file in partial.iterdir():
            _flush(file)  # else a power cut could leave the rename without the content
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
