"""Worker processes: started, waited for and ended, whatever becomes of one of them."""

from __future__ import annotations

import concurrent.futures
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import ParamSpec, TypeVar

from didact.machine.processes import end_with_parent, server
from didact.machine.signals import StopRequest

TURN_SECONDS = 0.2  # how long a request to stop may wait
ENDED_SECONDS = 5.0  # a pool that works notices within milliseconds that one of its processes ended

P = ParamSpec("P")
T = TypeVar("T")


class StoppedError(Exception):
    """It was asked to stop while it waited."""


def start(workers: int, *modules: str) -> ProcessPoolExecutor:
    """A pool of processes, forked from a server that has imported ``modules``."""
    context = server(*modules)  # imports PyTorch once, not once per worker
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)


def submit(pool: ProcessPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Hands work to a pool; where one of its processes has died, `result` says so."""
    try:
        return pool.submit(work, *args, **kwargs)
    except BrokenProcessPool as error:
        broken: Future[T] = Future()
        broken.set_exception(error)
        return broken


def result(pool: ProcessPoolExecutor, future: Future[T], stop: StopRequest) -> T:
    """Waits for what a worker makes.

    Raises:
        BrokenProcessPool: one of the pool's processes died.
        StoppedError: there is no result yet, and ``stop`` was asked for.
    """
    complete = time.monotonic()
    while not concurrent.futures.wait([future], TURN_SECONDS).done:
        if stop:
            raise StoppedError
        # A process that is killed while it sends leaves the pool waiting for the rest: it never says that it is broken
        ended = connection.wait([process.sentinel for process in list(pool._processes.values())], 0)
        if not ended:
            complete = time.monotonic()
        elif time.monotonic() - complete > ENDED_SECONDS:
            raise BrokenProcessPool("a process of the pool ended while it sent its result")
    return future.result()


def end(pool: ProcessPoolExecutor) -> None:
    """Kills a pool's processes, whatever they are at. It may have been ended before."""
    if pool._processes is not None:
        for process in list(pool._processes.values()):
            process.kill()
        # Nobody can write any more: a pool that waits for the rest of a result learns that none comes. Without that,
        # this process could not end, for it waits for the pool
        pool._result_queue._writer.close()  # type: ignore[attr-defined]
    pool.shutdown(wait=False, cancel_futures=True)


def _begin_worker() -> None:
    import torch

    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal's are the main process's, which ends the workers
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)  # who is killed itself ends no pool
