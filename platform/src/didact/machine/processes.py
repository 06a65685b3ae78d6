"""Processes that start at once, forked from a server that has imported what they need; and requests to stop.

Importing PyTorch and the plugins takes longer than a short run's first hundred steps; the server, which is Python's own
fork server, does it once for all and computes nothing. It is a fresh process, without the threads and GPU context of
this one, so forking it is safe. Each process that asks has its own server, which ends with it.
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
    """This process's fork server, running; where it starts now, it imports the modules that can be imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    # A process that was killed leaves the tracker of semaphores what its workers shared; its warning about cleaning up
    # reads like a fault. A process that is started here inherits the option. And importing NumPy in the server must not
    # start threads, nor may a signal that a terminal sends to all reach the server.
    option, threads = "ignore:resource_tracker:UserWarning", os.environ.get(THREADS)
    sys.warnoptions.append(option)
    os.environ[THREADS] = "1"
    with _blocked(signal.SIGHUP):
        resource_tracker.ensure_running()  # it unblocks SIGINT where it starts, so it comes first
        with _blocked(signal.SIGINT):
            forkserver.ensure_running()
    sys.warnoptions.remove(option)
    os.environ.pop(THREADS)
    os.environ.update({THREADS: threads} if threads is not None else {})
    return context


def end_with_parent(number: signal.Signals) -> None:
    """Sends this process a signal when its parent ends: a server, or a launcher such as ``torchrun``.

    A process that a server forked ends with the process that asked for it too: the server, which stays for as long as
    one of its processes does, would not end it. Where the system cannot watch a launcher, nothing happens.
    """
    asked = multiprocessing.parent_process()
    handles = [] if asked is None else [asked.sentinel]  # become ready when a process ends
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel without it, or the process is gone already
            handles.append(os.pidfd_open(os.getppid()))

    def watch() -> None:
        connection.wait(handles)
        os.kill(os.getpid(), number)

    if handles:
        threading.Thread(target=watch, name="didact-parent", daemon=True).start()


class StopRequest:
    """Whether the run was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.reason = ""

    def __bool__(self) -> bool:
        return bool(self.reason)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turns SIGINT, SIGTERM or SIGHUP into a request, seen after the step; a second SIGINT interrupts at once.

    SIGHUP, which a closed terminal sends, stays ignored where it was, as under ``nohup``.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.reason = signal.Signals(number).name

    if threading.current_thread() is not threading.main_thread():
        yield request  # signals are the main thread's
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
    """Blocks a signal here, and in a process that is started here."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
