"""Child processes that are forked from a server which has already imported the packages that runs need."""

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
    """A process ended without sending the answer that its caller waits for.

    Attributes:
        code: the exit code of the process; negative for the signal that killed it.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(f"it ended with code {code}")
        self.code = code


class Process(ForkServerProcess):
    """A process that calls a function and never outlives this process, even if this process is killed.

    The process leads its own session, so Ctrl-C in a terminal does not reach it. It starts in this process's current
    directory, with the default signal actions. Leaving the context kills the process.

    Args:
        work: an importable function. It is called with its end of a channel, followed by ``arguments``. A `DidactError`
            that the function raises is sent through the channel.
        arguments: values that can be pickled.
        threads: the number of threads that compute on the CPU; None keeps the number of this process, because another
            number changes the order of sums.
        environment: the environment variables; None keeps those of this process.
        output: the file to which standard output is appended; None uses the server's output.
        errors: the file to which standard error is appended; None uses ``output``.
        when_left: the signal that the process receives when this process or the server has ended.

    Attributes:
        channel: this process's end of the channel.
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
        self.channel = ours  # set after the fork, so that the child does not inherit this end

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self.is_alive()

    @property
    def code(self) -> int | None:
        """The exit code, or the negative number of the signal that killed the process; None while it runs."""
        return self.exitcode

    def send(self, value: Any) -> None:
        """Sends a value that can be pickled to the process.

        Raises:
            OSError: the process has ended.
        """
        self.channel.send(value)

    def receive(self) -> Any:
        """Waits for the next value from the process and returns it.

        Raises:
            DidactError: the error that the process's function raised.
            EndedError: the process ended without sending another value.
        """
        try:
            answer = self.channel.recv()
        except (EOFError, OSError):  # the process ended before or within a message
            self.join()
            raise EndedError(self.exitcode) from None
        if isinstance(answer, DidactError):
            raise answer
        return answer

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid or 0, number)

    def wait(self, seconds: float | None = None) -> int | None:
        """Waits at most ``seconds`` for the process to end, and returns its exit code; None if it is still running."""
        self.join(seconds)
        return self.exitcode

    def close(self) -> None:
        """Kills the process, if it has not ended."""
        self.kill()
        self.join()
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def begin(words: Sequence[str], **where: Any) -> Process:
    """Starts a ``didact`` command in its own process, whose exit code is that of the command.

    Args:
        words: the words of the command line, without ``didact``.
        where: keyword arguments of `Process`.
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
    torch.set_num_threads(threads)  # libraries read these variables when the server imported them
    try:
        work(channel, *arguments)
    except DidactError as error:
        channel.send(error)
