"""Worker processes of an ingestion: starts them, waits for results, and ends them after a crash."""

from __future__ import annotations

import concurrent.futures
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import ParamSpec, TypeVar

from didact.machine.processes import StopRequest, end_with_parent, server

TURN_SECONDS = 0.2  # longest delay before a stop request is noticed
ENDED_SECONDS = 5.0  # wait for a pool to notice that a process has ended, which takes milliseconds

P = ParamSpec("P")
T = TypeVar("T")


class StoppedError(Exception):
    """A stop was requested while waiting."""


def start(num_workers: int, *modules: str) -> ProcessPoolExecutor:
    """Starts a pool of processes, forked from a server that has imported ``modules``."""
    context = server(*modules)  # imports the medium only once, not in every worker
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin_worker)


def submit(pool: ProcessPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Submits work to a pool; if a process has died, `result` raises the error."""
    try:
        return pool.submit(work, *args, **kwargs)
    except BrokenProcessPool as error:
        broken: Future[T] = Future()
        broken.set_exception(error)
        return broken


def result(pool: ProcessPoolExecutor, future: Future[T], stop: StopRequest) -> T:
    """Waits for the result of a worker.

    Raises:
        BrokenProcessPool: a process of the pool died.
        StoppedError: ``stop`` was requested before the result was available.
    """
    complete = time.monotonic()
    while not concurrent.futures.wait([future], TURN_SECONDS).done:
        if stop:
            raise StoppedError
        # if a process is killed while it sends a result, the pool waits for the rest and reports no error
        ended = connection.wait([process.sentinel for process in list(pool._processes.values())], 0)
        if not ended:
            complete = time.monotonic()
        elif time.monotonic() - complete > ENDED_SECONDS:
            raise BrokenProcessPool("a process of the pool ended while it sent its result")
    return future.result()


def end(pool: ProcessPoolExecutor) -> None:
    """Kills the processes of a pool; does nothing if the pool has ended."""
    if pool._processes is not None:
        for process in list(pool._processes.values()):
            process.kill()
        # ends the pool's wait for the rest of a result; without this, the process would wait for the pool forever
        pool._result_queue._writer.close()  # type: ignore[attr-defined]
    pool.shutdown(wait=False, cancel_futures=True)


def _begin_worker() -> None:
    if "torch" in sys.modules:  # a medium may import torch; ingestion itself does not
        sys.modules["torch"].set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGHUP):  # the main process handles these signals and ends the workers
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)  # a main process that is killed cannot end the pool itself
