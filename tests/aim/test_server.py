"""A real Aim server: runs are tracked by address, killed and resumed, and survive the server's failures."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVE = "from aim.cli.cli import cli_entry_point; cli_entry_point()"

# a run without a network: what it logs is written as a run's folder has it, and told to Aim
RUN = """
import json, os, sys, time
from pathlib import Path
from types import SimpleNamespace
from didact.record.observers import Observers
from didact_aim import Aim, repository
folder, place, first, last, end = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
if end == "unanswered":
    repository.PATIENCE_SECONDS = 2.0
folder.mkdir(exist_ok=True)
(folder / "experiment.json").write_text("{}")
told = Observers({"aim": Aim(repository=place).build()})
experiment = SimpleNamespace(name="remote", labels={"seed": 3})
told.notify("run_started", run=SimpleNamespace(
    folder=folder, experiment=experiment, data={"steps": 5}, environment={}, step=first))
lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] if first else []
lines = [line for line in lines if line["step"] <= first]
for step in range(first + 1, last + 1):
    if step == last and end == "unanswered":
        print("ready", flush=True)
        sys.stdin.readline()  # meanwhile the server is killed
    lines.append({"step": step, "train/loss": 1 / step})
    told.notify("step_finished", step=step, metrics={"train/loss": 1 / step})
(folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
if end == "killed":
    os._exit(9)  # with the queue full
told.notify("run_ended", outcome="finished", step=last)
print(*told.warnings, sep="\\n", flush=True)
"""

READER = """
import json, sys
from aim import Repo
print(json.dumps([
    {"name": run.name, "outcome": run.get("outcome"), "seed": run.get("seed"), "active": run.active,
     "points": {m.name: list(zip(m.data.items_list()[0], m.data.items_list()[1][0])) for m in run.metrics()}}
    for run in Repo.from_path(sys.argv[1]).iter_runs()
]))
"""

pytestmark = pytest.mark.slow


class Server:
    """``aim server`` on a repository of its own."""

    def __init__(self, folder: Path) -> None:
        from aim.sdk.repo import Repo

        Repo.from_path(str(folder), init=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"aim://127.0.0.1:{self.port}"
        command = [sys.executable, "-c", SERVE, "server", "--repo", str(folder), "--host", "127.0.0.1", "--yes"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + 300
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)

    def kill(self) -> None:
        """Ends it and its workers at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    yield started
    started.kill()


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def seen(place: object) -> list[dict]:
    done = python(READER, place)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_run_is_tracked_by_a_servers_address(server, tmp_path):
    done = python(RUN, tmp_path / "run", server.address, 0, 20, "finished")
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr
    expected = {
        "name": "run",
        "outcome": "finished",
        "seed": 3,
        "active": False,
        "points": {"loss": [[step, 1 / step] for step in range(1, 21)]},
    }
    assert seen(server.address) == [expected]
    assert seen(tmp_path) == [expected]  # the same from the server's own disk


def test_a_killed_run_that_is_resumed_is_whole(server, tmp_path):
    killed = python(RUN, tmp_path / "run", server.address, 0, 400, "killed")
    assert killed.returncode == 9, killed.stderr
    resumed = python(RUN, tmp_path / "run", server.address, 300, 420, "finished")
    assert (resumed.returncode, resumed.stdout.strip()) == (0, ""), resumed.stdout + resumed.stderr
    (run,) = seen(server.address)
    assert run["points"]["loss"] == [[step, 1 / step] for step in range(1, 421)]
    assert (run["outcome"], run["active"]) == ("finished", False)


def test_a_run_ends_though_its_server_has_gone(server, tmp_path):
    command = [sys.executable, "-c", RUN, str(tmp_path / "run"), server.address, "0", "5", "unanswered"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        server.kill()
        said, errors = process.communicate("go on\n", timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "has stopped answering" in said
    assert "Traceback" not in errors


def test_a_process_that_fails_ends_though_its_server_has_gone(server, tmp_path):
    """Before the run has ended, so that nobody has closed anything."""
    script = RUN.replace("    lines.append(", "    if first < 0:\n        raise SystemExit(7)\n    lines.append(")
    command = [sys.executable, "-c", script, str(tmp_path / "run"), server.address, "-1", "0", "unanswered"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").touch()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        server.kill()
        process.communicate("go on\n", timeout=300)
    finally:
        process.kill()
    assert process.returncode == 7


def test_an_address_where_no_server_is_switches_the_tracker_off(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"aim://127.0.0.1:{probe.getsockname()[1]}"
    done = python(RUN, tmp_path / "run", address, 0, 5, "finished")
    assert done.returncode == 0, done.stderr
    assert f"the Aim repository '{address}' cannot be opened" in done.stdout
    assert "start `aim server` there" in done.stdout
