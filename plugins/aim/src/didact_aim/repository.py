"""Aim's repositories and runs, opened, found again and made findable. Aim is imported here only when it is needed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from didact import DataError

if TYPE_CHECKING:
    from aim.sdk.repo import Repo
    from aim.sdk.run import Run

ATTEMPTS = 8  # to write to the index, 13 seconds in all


def absolute(place: str) -> str:
    """The place as it can be found from any directory."""
    return place if is_remote(place) else str(Path(place).expanduser().resolve())


def repository_exists(place: str) -> bool:
    """Whether there is a repository at ``place``; of a server, that is left to be seen."""
    return is_remote(place) or (bool(place) and (Path(place) / ".aim").is_dir())


def open_repository(place: str) -> Repo:
    """The repository at ``place``, made where there is none.

    Raises:
        DataError: the server cannot be reached, or the folder cannot be written.
    """
    from aim.sdk.repo import Repo

    try:
        with _one_at_a_time(place):  # two runs that start at once must not both make it, nor one find it half made
            repository: Repo = Repo.from_path(place, init=not repository_exists(place))
        return repository
    except Exception as error:  # foreign code: gRPC, SQLite and RocksDB raise what they like
        raise DataError(
            f"the Aim repository {place!r} cannot be opened: {type(error).__name__}: {error}",
            where="observers, Aim.repository",
            mend="start `aim server` there, or name a folder that can be written",
        ) from error


def open_run(repository: Repo, resumed: str | None) -> Run:
    """A new run, or the one with the hash ``resumed`` where the repository still has it."""
    from aim.sdk.run import Run

    if resumed is not None and not repository.run_exists(resumed):
        resumed = None  # deleted in Aim since
    with _quiet("aim.sdk.lock_manager"):
        run: Run = Run(
            run_hash=resumed,
            repo=repository,
            # the run's folder lets only one process in, so a lock that is left is a dead process's, perhaps elsewhere
            force_resume=resumed is not None,
            system_tracking_interval=None,
            log_system_params=False,  # they hold every environment variable, secrets included
            capture_terminal_logs=False,
        )
    return run


def forget_after(run: Run, step: int) -> None:
    """Takes all points after a step out of a run that is open for writing: they are about to be tracked anew.

    Aim has no call for that. It keeps a sequence as one array for each of value, step, epoch and time, all with the
    same keys; those of numbers are hashes of the step, those of objects the step itself.
    """
    tracker, meta = run._tracker, run.meta_run_tree
    for (context, name), known in list(tracker.sequence_infos.items()):
        tree = run.series_run_trees[known.version or 1].subtree((context, name))
        values = dict(tree.array("val").items())
        steps = dict(tree.array("step").items()) if known.version == 2 else {key: key for key in values}
        gone = [key for key, at in steps.items() if at > step]
        for key in gone:
            for part in ("val", "step", "epoch", "time") if known.version == 2 else ("val", "epoch", "time"):
                del tree[part, key]
        if not gone:
            continue
        left = {at: values[key] for key, at in steps.items() if at <= step and key in values}
        if not left:
            del meta["traces", context, name]  # as if it had never been tracked
            typed: Any = meta["typed_traces"]
            for kind in [kind for kind, kept in typed.items() if name in kept.get(context, {})]:
                del meta["typed_traces", kind, context, name]
            del tracker.sequence_infos[context, name]
            continue
        meta["traces", context, name, "last"] = left[max(left)]
        meta["traces", context, name, "last_step"] = max(left)
        known.count = max(left) + 1
        if known.version == 2:
            known.min, known.max = min(left.values()), max(left.values())
            meta["traces", context, name, "min"], meta["traces", context, name, "max"] = known.min, known.max


def index(repository: Repo, run_hash: str) -> None:
    """Makes a closed run's data visible to queries of other processes at once.

    They read Aim's index. Aim itself brings it up to date only where its UI is running, and then some seconds later.
    """
    from aimrocks.errors import RocksIOError  # type: ignore[import-untyped]

    for attempt in range(ATTEMPTS):
        try:
            entries = repository._get_index_tree("meta", 0).view(())
            run = repository.request_tree("meta", run_hash, read_only=True, skip_read_optimization=True)
            run.subtree("meta").subtree("chunks").subtree(run_hash).finalize(index=entries)
            return
        except RocksIOError:  # another process is writing to the index: another run that ends, or Aim's UI
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.1 * 2**attempt)


def is_remote(place: str) -> bool:
    """Whether it is the address of a server."""
    return place.startswith("aim://")


@contextlib.contextmanager
def _one_at_a_time(place: str) -> Iterator[None]:
    """Lets one process of this machine at a time open a repository."""
    if is_remote(place):
        yield
        return
    name = f"didact-aim-{os.getuid()}-{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"
    with (Path(tempfile.gettempdir()) / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without the warnings of one of Aim's loggers."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
