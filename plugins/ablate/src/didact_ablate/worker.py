"""A job's process: ``didact resume FOLDER``, forked from a server that has imported everything once.

Importing PyTorch takes longer than a short run's first hundred steps, and a study would do it for every run. The server
is a fresh process that computes nothing and has no GPU's context, so that forking it is safe. `didact_ablate.jobs`
starts it, and has it import `didact_ablate.preloaded`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of Linux's prctl


def work(command: Sequence[str], log: Path, environment: Mapping[str, str], threads: int | None) -> None:
    """Runs a ``didact`` command line and exits as it does.

    Args:
        command: word by word, without ``didact``.
        log: what it says is added to this file.
        environment: variables that are set for it.
        threads: that compute on the CPU; None leaves that to the environment.
    """
    _end_with_the_study()
    os.setsid()  # Ctrl-C is for the study, which passes it on
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)  # its libraries read their variables when the server imported them
    sys.argv = ["didact", *command]
    from didact.cli import main

    main()


def _end_with_the_study() -> None:
    """Has the system send SIGTERM to this process when the server is gone, so that it checkpoints and ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
