"""Processes that are ready at once: forked from a server that has imported what runs need, and computes nothing.

Importing PyTorch, the plugins and what they stand on takes longer than a short run's first hundred steps. The server
does it once for all. It is a fresh process, without the threads and the GPU's context that this one may have, so that
forking it is safe. There is one for each process that asks, and it ends with that one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import torch

from didact.errors import DidactError

THREADS = "OMP_NUM_THREADS"
EVERYTHING = "didact.cli.prepared"  # imports whatever a run needs


class EndedError(Exception):
    """A process ended without the answer that somebody waits for.

    Attributes:
        code: its exit code; the negative number of the signal that killed it.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(f"it ended with code {code}")
        self.code = code


class Process:
    """A process that does some work, and ends when this one does, however this one ends.

    It leads a session of its own: Ctrl-C in a terminal is for whoever started it. It works in this process's current
    directory, with the signals' default actions. Leaving it as a context kills it.

    Args:
        work: a function that can be imported. It is called with its end of a channel, then with ``arguments``. A
            `DidactError` that it raises is sent through the channel.
        arguments: anything that can be pickled.
        threads: that compute on the CPU; None: as many as here, for the sums of another number are other sums.
        environment: its variables; None: those that this process has now.
        output: what it prints is added to this file; None leaves it where the server's goes.
        errors: likewise, what it prints to standard error; None: to the same file.
        when_left: the signal that it gets when this process has ended, or the server.

    Attributes:
        channel: this process's end of it.
    """

    def __init__(
        self,
        work: Callable[..., object],
        *arguments: Any,
        threads: int | None = None,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
        errors: Path | None = None,
        when_left: signal.Signals = signal.SIGKILL,
    ) -> None:
        place = _Place(
            directory=os.getcwd(),
            environment=dict(os.environ if environment is None else environment),
            threads=torch.get_num_threads() if threads is None else threads,
            output=output,
            errors=errors or output,
            when_left=when_left,
        )
        context = server(EVERYTHING)
        self.channel, theirs = context.Pipe()
        self._process: ForkServerProcess = context.Process(target=_serve, args=(theirs, place, work, arguments))
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its number in the system."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    @property
    def code(self) -> int | None:
        """Its exit code, or the negative number of the signal that killed it; None while it is alive."""
        return self._process.exitcode

    def send(self, value: Any) -> None:
        """Sends it something that can be pickled.

        Raises:
            OSError: it has ended.
        """
        self.channel.send(value)

    def receive(self) -> Any:
        """Waits for what it sends.

        Raises:
            DidactError: that its work raised.
            EndedError: it ended without sending anything more.
        """
        try:
            answer = self.channel.recv()
        except (EOFError, OSError):  # before a message, or in the middle of one
            self._process.join()
            raise EndedError(self.code) from None
        if isinstance(answer, DidactError):
            raise answer
        return answer

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def join(self, seconds: float | None = None) -> int | None:
        """Waits until it has ended, at most so long; its exit code, None where it has not."""
        self._process.join(seconds)
        return self.code

    def close(self) -> None:
        """Kills it, if it is still there."""
        self._process.kill()
        self._process.join()
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def server(*modules: str) -> ForkServerContext:
    """This process's server, running.

    Args:
        modules: that it imports, where it does not run yet; one that cannot be imported is left out.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    with _deaf_to(signal.SIGHUP), _silent_about_what_it_cleans_up():
        resource_tracker.ensure_running()  # it unblocks SIGINT where it starts, so it comes before
    with _without_threads(), _deaf_to(signal.SIGINT, signal.SIGHUP):  # what a terminal sends to all is not for it
        forkserver.ensure_running()
    return context


def end_with_parent(number: signal.Signals) -> None:
    """Has this process, which a server forked, sent a signal when the one that asked for it has ended, or the server.

    Nobody else would notice: the server stays for as long as one of its processes does, and is their parent.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    _signal_after([parent.sentinel, *_handles(os.getppid())], number)


def end_with_launcher(number: signal.Signals) -> None:
    """Has this process, which a launcher such as ``torchrun`` started, sent a signal when that one has ended.

    A launcher that is killed takes nobody along. Where the system cannot watch a process, nothing happens.
    """
    handles = _handles(os.getppid())
    if handles:
        _signal_after(handles, number)


def _handles(pid: int) -> list[int]:
    """What becomes ready when a process ends."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel without it, or the process is gone already
            return [os.pidfd_open(pid)]
    return []


def _signal_after(handles: list[int], number: signal.Signals) -> None:
    def watch() -> None:
        connection.wait(handles)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, name="didact-parent", daemon=True).start()


@attrs.frozen(kw_only=True)
class _Place:
    """What a process finds around it; see `Process`."""

    directory: str
    environment: dict[str, str]
    threads: int
    output: Path | None
    errors: Path | None
    when_left: signal.Signals

    def enter(self) -> None:
        end_with_parent(self.when_left)
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.chdir(self.directory)
        os.environ.clear()
        os.environ.update(self.environment)
        if self.output is not None:
            sys.stdout = _redirected(1, self.output)
        if self.errors is not None:
            sys.stderr = _redirected(2, self.errors)
        torch.set_num_threads(self.threads)  # its libraries read their variables when the server imported them


def _serve(channel: Connection, place: _Place, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    place.enter()
    try:
        work(channel, *arguments)
    except DidactError as error:
        channel.send(error)


def _redirected(descriptor: int, file: Path) -> Any:
    with file.open("ab") as opened:
        os.dup2(opened.fileno(), descriptor)
    return os.fdopen(descriptor, "w", buffering=1, closefd=False)


@contextlib.contextmanager
def _without_threads() -> Iterator[None]:
    """Has a process that is started here compute on one thread: importing NumPy would start others in it."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        os.environ.pop(THREADS)
        os.environ.update({THREADS: before} if before is not None else {})


@contextlib.contextmanager
def _deaf_to(*numbers: signal.Signals) -> Iterator[None]:
    """Blocks signals here, and in a process that is started here."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _silent_about_what_it_cleans_up() -> Iterator[None]:
    """Has the tracker of semaphores that is started here say nothing where it does its work.

    A process that was killed leaves it what its loader's workers shared; the warning reads like a fault of the program.
    """
    option = "ignore:resource_tracker:UserWarning"
    sys.warnoptions.append(option)  # which a process that is started here gets along
    try:
        yield
    finally:
        sys.warnoptions.remove(option)
