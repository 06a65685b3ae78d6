"""Processes that work for this one, forked from a server that has imported what runs need."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Self

import torch

from didact import DidactError
from didact.cli import main
from didact.machine.processes import end_with_parent, server

PREPARED = "didact_doctor.prepared"  # imports what a run needs


class EndedError(Exception):
    """A process ended without the answer that its caller waits for.

    Attributes:
        code: its exit code; the negative number of the signal that killed it.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(f"it ended with code {code}")
        self.code = code


class Process(ForkServerProcess):
    """A process that calls a function, and ends at the latest when this process ends, even if that is killed.

    It leads a session of its own, so Ctrl-C in a terminal does not reach it. It starts in this process's current
    directory, with the default actions of signals. It is killed when the context is left.

    Args:
        work: a function that can be imported. It is called with its end of a channel, then with ``arguments``. A
            `DidactError` that it raises is sent through the channel.
        arguments: anything that can be pickled.
        threads: number of threads that compute on the CPU; None takes this process's, because another number changes
            the order of sums.
        environment: its variables; None takes this process's.
        output: file to which its output is added; None takes the server's output.
        errors: file to which its standard error is added; None takes ``output``.
        when_left: the signal that it receives when this process, or the server, has ended.

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
        ours, theirs = server(PREPARED).Pipe()
        variables = dict(os.environ if environment is None else environment)
        count = torch.get_num_threads() if threads is None else threads
        place = (os.getcwd(), variables, count, (output, errors or output), when_left)
        super().__init__(target=_serve, args=(theirs, place, work, arguments))
        self.start()
        theirs.close()
        self.channel = ours  # only now, or the new process would inherit this end too

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self.is_alive()

    @property
    def code(self) -> int | None:
        """Its exit code, or the negative number of the signal that killed it; None while it is alive."""
        return self.exitcode

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
            self.join()
            raise EndedError(self.exitcode) from None
        if isinstance(answer, DidactError):
            raise answer
        return answer

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid or 0, number)

    def wait(self, seconds: float | None = None) -> int | None:
        """Waits for its end, at most so long, and returns its exit code; None if it is still running."""
        self.join(seconds)
        return self.exitcode

    def close(self) -> None:
        """Kills it, if it has not ended."""
        self.kill()
        self.join()
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def begin(words: Sequence[str], **where: Any) -> Process:
    """Starts a ``didact`` command in a process of its own, whose exit code is the command's.

    Args:
        words: of the command line, without ``didact``.
        where: as for `Process`, by name.
    """
    return Process(_run, tuple(words), **where)


def _run(channel: Connection, words: Sequence[str]) -> None:
    sys.argv = ["didact", *words]
    main()


def _serve(
    channel: Connection, place: tuple[Any, ...], work: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    directory, environment, threads, files, when_left = place
    end_with_parent(when_left)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, (name, file) in enumerate(zip(("stdout", "stderr"), files, strict=True), start=1):
        if file is not None:
            with file.open("ab") as opened:
                os.dup2(opened.fileno(), descriptor)
            setattr(sys, name, os.fdopen(descriptor, "w", buffering=1, closefd=False))
    torch.set_num_threads(threads)  # its libraries read their variables when the server imported them
    try:
        work(channel, *arguments)
    except DidactError as error:
        channel.send(error)
