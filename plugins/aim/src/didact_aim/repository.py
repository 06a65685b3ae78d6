"""Opens, finds and indexes Aim's repositories and runs. Aim is imported only when it is needed."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import logging
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from didact import DataError

if TYPE_CHECKING:
    from aim.sdk.repo import Repo
    from aim.sdk.run import Run

ATTEMPTS = 40  # largest number of attempts to write to the index, about 30 s in total
PATIENCE_SECONDS = 30.0  # longest wait for a server that accepts no data


def absolute(place: str) -> str:
    """Makes the place absolute, so that it is valid in any directory."""
    return place if is_remote(place) else str(Path(place).expanduser().resolve())


def repository_exists(place: str) -> bool:
    """Whether the repository at ``place`` exists; always true for a server, which is not contacted."""
    return is_remote(place) or (bool(place) and (Path(place) / ".aim").is_dir())


def open_repository(place: str) -> Repo:
    """Opens the repository at ``place``, and creates it if it does not exist.

    Raises:
        DataError: the server cannot be reached, or the folder cannot be written.
    """
    from aim.sdk.repo import Repo

    try:
        with one_at_a_time(place):  # only one of two starting runs may create it
            repository: Repo = Repo.from_path(place, init=not repository_exists(place))
    except Exception as error:  # foreign code: gRPC, SQLite and RocksDB raise any exception
        raise DataError(
            f"the Aim repository {place!r} cannot be opened: {type(error).__name__}: {error}",
            where="observers, Aim.repository",
            hint="start `aim server` there, or name a folder that can be written",
        ) from error
    if is_remote(place):
        atexit.register(_give_up_if_gone, repository)  # for a process that ends before its run
    return repository


def open_run(repository: Repo, resumed: str | None) -> Run:
    """Opens a new run, or the run with the hash ``resumed`` if the repository still has it."""
    from aim.sdk.run import Run

    if resumed is not None and not repository.run_exists(resumed):
        resumed = None  # was deleted in Aim
    with _quiet("aim.sdk.lock_manager"):
        run: Run = Run(
            run_hash=resumed,
            repo=repository,
            # only one process may use the run's folder, so a remaining lock belongs to a dead process, maybe on
            # another machine
            force_resume=resumed is not None,
            system_tracking_interval=None,
            log_system_params=False,  # these include every environment variable, secrets included
            capture_terminal_logs=False,
        )
    return run


def forget_after(run: Run, step: int) -> None:
    """Deletes all points after a step from a run that is open for writing, because they will be tracked again.

    Aim has no call for this. It stores a sequence as one array each for value, step, epoch and time, all with the same
    keys. The keys of numbers are hashes of the step; those of objects are the step itself.
    """
    tracker, meta = run._tracker, run.meta_run_tree
    for (context, name), known in list(tracker.sequence_infos.items()):
        tree = run.series_run_trees[known.version or 1].subtree((context, name))
        values = dict(tree.array("val").items())
        steps = _steps(run, (context, name))
        gone = [key for key, at in steps.items() if at > step]
        for key in gone:
            for part in ("val", "step", "epoch", "time") if known.version == 2 else ("val", "epoch", "time"):
                del tree[part, key]
        if not gone:
            continue
        left = {at: values[key] for key, at in steps.items() if at <= step and key in values}
        if not left:
            del meta["traces", context, name]  # the sequence was never tracked
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


def steps_tracked(run: Run, name: str, context: Mapping[str, Any]) -> set[int]:
    """Returns the steps at which a run that is open for writing has a value."""
    from aim.storage.context import Context

    key = (Context(dict(context)).idx, name)  # type: ignore[arg-type]
    return set(_steps(run, key).values()) if key in run._tracker.sequence_infos else set()


def _steps(run: Run, key: tuple[int, str]) -> dict[int, int]:
    """Maps the keys of a sequence's arrays to their steps."""
    version = run._tracker.sequence_infos[key].version or 1
    tree = run.series_run_trees[version].subtree(key)
    if version == 2:
        return dict(tree.array("step").items())
    return {place: place for place, _ in tree.array("val").items()}


def close_run(repository: Repo, run: Run) -> None:
    """Closes a run and makes its data visible to other processes immediately.

    Data tracked on a server goes through a queue. Aim waits for the queue without a limit, even if the server is gone;
    this function waits only while the server still accepts data.

    Raises:
        DataError: the server accepts no more data.
    """
    if repository._client is not None:
        left = _give_up_if_gone(repository)
        if left is not None:
            raise DataError(
                f"the Aim server at {repository.path} has stopped answering: the last {left} of its messages are lost",
                where="observers, Aim.repository",
                hint="the run's own folder has all data; a resumed run sends the missing data to the server",
            )
    with one_at_a_time(repository.root_path):
        run.close()  # type: ignore[no-untyped-call]
    index(repository, run.hash)


def _give_up_if_gone(repository: Repo) -> int | None:
    """Waits until a server has accepted all sent data; gives up if the server accepts nothing for a while.

    Without this, the process would never end: Aim waits for the queue and for finalizers that an exception has ended.

    Returns:
        The number of messages that the server did not accept; None if the server accepted all of them.
    """
    client: Any = repository._client
    requests = client.get_queue()
    queue = requests._queue
    since, fewest = time.monotonic(), queue.unfinished_tasks
    while queue.unfinished_tasks and time.monotonic() - since < PATIENCE_SECONDS:
        if queue.unfinished_tasks < fewest:
            since, fewest = time.monotonic(), queue.unfinished_tasks
        time.sleep(0.05)
    left = int(queue.unfinished_tasks)
    if not left:
        try:
            client.client_heartbeat()
            return None
        except Exception:  # foreign code: a network may raise any exception
            pass
    requests._shutdown = True  # ends the queue's thread, which would retry
    with queue.mutex:
        queue.queue.clear()
        queue.unfinished_tasks = 0
        queue.all_tasks_done.notify_all()
    client._heartbeat_sender.stop()
    _without_finalizers(client)
    return left


def _without_finalizers(client: Any) -> None:
    """Detaches Aim's finalizers, which at exit would ask the server to release the resources of this process."""
    from aim.ext.cleanup import AutoClean

    for _, finalizer in list(AutoClean._finalizers.values()):  # type: ignore[misc]
        alive = finalizer.peek()
        cleaner = getattr(alive[1], "__self__", None) if alive else None
        repository = getattr(cleaner, "repo", None)
        if client in (getattr(of, name, None) for of in (cleaner, repository) for name in ("rpc_client", "_client")):
            finalizer.detach()


def index(repository: Repo, run_hash: str) -> None:
    """Makes the data of a closed or killed run visible to queries of other processes immediately.

    Queries read Aim's index. Aim itself updates the index only while its UI is running, and seconds later.
    """
    from aimrocks.errors import RocksIOError  # type: ignore[import-untyped]

    for attempt in range(ATTEMPTS):
        try:
            entries = repository._get_index_tree("meta", 0).view(())
            run = repository.request_tree("meta", run_hash, read_only=True, skip_read_optimization=True)
            run.subtree("meta").subtree("chunks").subtree(run_hash).finalize(index=entries)
            return
        except RocksIOError:  # another process, such as an ending run or Aim's UI, is writing to the index
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0.05, 0.1 * 2 ** min(attempt, 4)))


def is_remote(place: str) -> bool:
    """Whether the place is the address of a server."""
    return place.startswith("aim://")


@contextlib.contextmanager
def one_at_a_time(place: str) -> Iterator[None]:
    """Allows one process of this machine at a time to write the data that all runs of a repository share.

    These are its folders during creation, and the database of names and tags, for which Aim waits five seconds.
    """
    if is_remote(place):
        yield
        return
    name = f"didact-aim-{os.getuid()}-{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"
    with (Path(tempfile.gettempdir()) / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silences the warnings of one of Aim's loggers."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
