"""Starts processes quickly, by forking a server that has imported the modules, and handles stop requests.

Importing PyTorch and the plugins takes longer than a short run's first hundred steps. The server, which is Python's own
fork server, imports them once and computes nothing. The server is a fresh process without the threads and GPU context
of this process, so forking it is safe. Each process that calls ``server`` has its own server, which ends with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from types import FrameType

THREADS = "OMP_NUM_THREADS"


def server(*modules: str) -> ForkServerContext:
    """Returns this process's fork server; if the server is not running, it starts and imports the given modules."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    # After a process was killed, the resource tracker cleans up its semaphores and prints a warning that looks like an
    # error; processes that are started here inherit the option. Importing NumPy in the server must not start threads,
    # and a signal that a terminal sends to all processes must not reach the server.
    option, threads = "ignore:resource_tracker:UserWarning", os.environ.get(THREADS)
    sys.warnoptions.append(option)
    os.environ[THREADS] = "1"
    with _blocked(signal.SIGHUP):
        resource_tracker.ensure_running()  # starting it unblocks SIGINT, so this comes first
        with _blocked(signal.SIGINT):
            forkserver.ensure_running()
    sys.warnoptions.remove(option)
    os.environ.pop(THREADS)
    os.environ.update({THREADS: threads} if threads is not None else {})
    return context


def end_with_parent(number: signal.Signals) -> None:
    """Sends this process a signal when its parent ends: a server, or a launcher such as ``torchrun``.

    A forked process also ends with the process that started it through a server, because the server runs as long as one
    of its processes and would not end it. If the system cannot watch a launcher, this function does nothing.
    """
    asked = multiprocessing.parent_process()
    handles = [] if asked is None else [asked.sentinel]  # become ready when a process ends
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # unsupported by the kernel, or the process has ended
            handles.append(os.pidfd_open(os.getppid()))

    def watch() -> None:
        connection.wait(handles)
        os.kill(os.getpid(), number)

    if handles:
        threading.Thread(target=watch, name="didact-parent", daemon=True).start()


class StopRequest:
    """A request to stop the run; false until a signal arrives. ``reason`` is the signal's name."""

    reason = ""

    def __bool__(self) -> bool:
        return bool(self.reason)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Converts SIGINT, SIGTERM or SIGHUP to a request that is handled after the step; a second SIGINT stops at once.

    SIGHUP, which a closed terminal sends, stays ignored if it was ignored before, as under ``nohup``.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.reason = signal.Signals(number).name

    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread can handle signals
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """Blocks a signal in this process and in processes that are started inside the ``with`` block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
