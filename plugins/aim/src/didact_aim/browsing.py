"""Opens Aim's browser on a repository, finds runs by Aim queries, and closes the records of killed runs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from didact import DataError, DidactError
from didact.record import RunRecord
from didact_ablate import RunFinder, close
from didact_aim.repository import index, is_remote, open_repository, repository_exists

SECONDS_BETWEEN_SWEEPS = 60.0
START = "from aim.cli.cli import cli_entry_point; cli_entry_point()"


class AimRuns(RunFinder):
    """Runs that match an Aim query, such as ``aim:run.hparams.training.steps > 100``."""

    def find(self, query: str, place: str) -> list[Path]:
        """Returns the folders of the runs that match a query.

        Args:
            query: the text of a query, as in Aim's search bar.
            place: the folder of an Aim repository.

        Raises:
            DataError: the repository does not exist, or Aim cannot parse the query.
        """
        repository = open_repository(existing(place))
        try:
            matching: Any = repository.query_runs(query, report_mode=0)  # type: ignore[arg-type]
            found = [one.run.get("folder") for one in matching.iter_runs()]
        except Exception as error:  # foreign code: Aim runs the query as Python
            raise DataError(
                f"Aim cannot parse the query {query!r}: {error}",
                hint="it is Python, for example aim:run.study == 'layers' and run.hparams.targets.k > 2",
            ) from error
        return sorted({Path(folder) for folder in found if folder})


def sweep(place: str) -> int:
    """Closes the records of killed runs that Aim lists as running; returns the number of runs closed."""
    from aim.sdk.run import Run

    repository = open_repository(place)
    ended = 0
    for run_hash in repository.list_active_runs():
        index(repository, run_hash)  # readers do not see the folder of a run killed just now
        folder = Run(run_hash, repo=repository, read_only=True).get("folder")
        if not folder or not (Path(folder) / "experiment.json").exists():
            continue  # a run of another machine or program
        with contextlib.suppress(DidactError):  # a run whose plugins are missing stays unchanged
            if RunRecord.open(Path(folder)).state == "killed":
                ended += close(Path(folder))
    return ended


def existing(place: str) -> str:
    """Returns the repository's place, if the repository exists.

    Raises:
        DataError: the repository does not exist.
    """
    expanded = place if is_remote(place) else str(Path(place).expanduser().resolve())
    if not repository_exists(expanded):
        raise DataError(
            f"there is no Aim repository in {place}",
            where="--repo",
            hint="name the folder that holds .aim; a run whose experiment lists the observer Aim() creates it",
        )
    return expanded


def free_port(host: str, wanted: int) -> int:
    """Returns the port if it is free; any free port if ``wanted`` is 0.

    Raises:
        DataError: another process listens on the port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError as error:
            raise DataError(
                f"{host}:{wanted} cannot be listened on: {error.strerror}",
                where="--port",
                hint="choose another, or 0 for any that is free",
            ) from error
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def browser(place: str, host: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Runs Aim's browser for the duration of the context, then ends it with all its workers."""
    command = [sys.executable, "-c", START, "up", "--repo", place, "--host", host, "--port", str(port), "--yes"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
