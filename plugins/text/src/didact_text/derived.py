"""Files that are computed once from a store and kept in ``STORE/derived``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock

from didact import DataError
from didact.serialization import fingerprint
from didact_stores.store import Store


def place(store: Store, what: str, *made_of: Any) -> Path:
    """The folder for files that are computed from a store. It depends on the store's content and on the settings.

    Args:
        store: the store from which the files are computed.
        what: the readable part of the folder's name.
        made_of: everything else on which the files depend, as plain data.
    """
    return store.path / "derived" / f"{what}-{fingerprint([store.fingerprint, *made_of])[:16]}"


def derive(folder: Path, make: Callable[[Path], None]) -> None:
    """Creates a folder, unless it exists. The folder is complete or absent, even if the process is killed.

    Args:
        folder: the path, from `place`. If several processes call this, one creates the folder and the others wait.
        make: function that writes the files to the empty folder that it receives.

    Raises:
        DataError: the disk is full or not writable.
    """
    if folder.is_dir():
        return
    try:
        folder.parent.mkdir(exist_ok=True)
        with filelock.FileLock(folder.with_name(folder.name + ".lock")):
            if not folder.is_dir():  # unless another process made it in the meantime
                _make(folder, make)
    except OSError as error:
        raise DataError(
            f"{folder.name} cannot be written: {error.strerror or error}",
            where=str(folder.parent),
            hint="free disk space in the store's folder, or make it writable: derived files are kept there",
        ) from error


def require(folder: Path, what: str) -> Path:
    """Returns ``folder`` if it exists.

    Raises:
        DataError: the folder does not exist; the message says that ``what`` is missing.
    """
    if not folder.is_dir():
        raise DataError(
            f"{what} does not exist yet",
            where=str(folder),
            hint="call the source's prepare() before reading it; `didact run` does so",
        )
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
    partial.mkdir()
    try:
        make(partial)
        for file in partial.iterdir():
            _flush(file)  # before the rename, so that a power failure cannot leave empty files
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
