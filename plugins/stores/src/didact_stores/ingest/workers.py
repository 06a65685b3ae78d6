"""Worker processes of an ingestion: starting them, waiting for results, ending them after a crash."""

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

TURN_SECONDS = 0.2  # longest delay of a request to stop
ENDED_SECONDS = 5.0  # a working pool notices the end of one of its processes within milliseconds

P = ParamSpec("P")
T = TypeVar("T")


class StoppedError(Exception):
    """A stop was requested during the wait."""


def start(num_workers: int, *modules: str) -> ProcessPoolExecutor:
    """A pool of processes, forked from a server that has imported ``modules``."""
    context = server(*modules)  # imports the medium once, not once per worker
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin_worker)


def submit(pool: ProcessPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Submits work to a pool; if one of its processes has died, `result` raises."""
    try:
        return pool.submit(work, *args, **kwargs)
    except BrokenProcessPool as error:
        broken: Future[T] = Future()
        broken.set_exception(error)
        return broken


def result(pool: ProcessPoolExecutor, future: Future[T], stop: StopRequest) -> T:
    """Waits for a worker's result.

    Raises:
        BrokenProcessPool: one of the pool's processes died.
        StoppedError: ``stop`` was requested before there was a result.
    """
    complete = time.monotonic()
    while not concurrent.futures.wait([future], TURN_SECONDS).done:
        if stop:
            raise StoppedError
        # a process that is killed while it sends leaves the pool waiting for the rest, and the pool reports no error
        ended = connection.wait([process.sentinel for process in list(pool._processes.values())], 0)
        if not ended:
            complete = time.monotonic()
        elif time.monotonic() - complete > ENDED_SECONDS:
            raise BrokenProcessPool("a process of the pool ended while it sent its result")
    return future.result()


def end(pool: ProcessPoolExecutor) -> None:
    """Kills a pool's processes; does nothing to a pool that has ended."""
    if pool._processes is not None:
        for process in list(pool._processes.values()):
            process.kill()
        # ends the pool's wait for the rest of a result; otherwise this process would wait for the pool forever
        pool._result_queue._writer.close()  # type: ignore[attr-defined]
    pool.shutdown(wait=False, cancel_futures=True)


def _begin_worker() -> None:
    if "torch" in sys.modules:  # a medium may use it; ingestion itself does not
        sys.modules["torch"].set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGHUP):  # the main process handles those and ends the workers
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)  # a main process that is killed cannot end its pool
