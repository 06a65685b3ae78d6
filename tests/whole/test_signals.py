"""Ctrl-C and SIGTERM: a checkpoint is written, the command to resume is printed, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from didact import run
from didact.experiment_file import load_experiment
from didact.machine.processes import stop_requests
from didact.record import RunRecord
from didact.record.folder import read_metrics

STEPS = 120  # enough that the signal comes long before the end

SETTINGS = {"training.steps": STEPS, "training.num_workers": 2, "training.checkpoint_every": 1000}


def interrupt_group(process) -> None:
    """What Ctrl-C does: every process of the terminal gets it."""
    os.killpg(process.pid, signal.SIGINT)


def terminate(process) -> None:
    """What a scheduler does."""
    process.terminate()


@pytest.fixture
def start(begin):
    """Starts a run in a folder, of which some settings are changed."""

    def run(folder: Path, changed: Mapping[str, int] | None = None):
        settings = {**SETTINGS, **(changed or {})}
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        return begin("run", "tiny.py", "--out", folder, *words)

    return run


def lines_in(path: Path) -> int:
    """How many lines a file has."""
    return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("stop", [interrupt_group, terminate])
def test_a_signal_stops_politely_and_the_run_goes_on_as_if_nothing_were(
    project, start, didact, assert_equal_runs, stop
):
    folder = project / "signalled"
    process = start(folder)
    process.until(lambda: lines_in(folder / "metrics.jsonl") >= 3)
    stop(process)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "error" not in errors
    assert f"stopped; resume with: didact resume {folder}" in output
    last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "stopped"
    assert 3 <= last["step"] < STEPS
    assert (folder / "checkpoints" / f"step-{last['step']:08d}" / "checkpoint.json").exists()
    resumed = didact("resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment.evolve(**SETTINGS | {"training.num_workers": 0}), project / "whole")
    assert_equal_runs(project / "whole", folder)


@pytest.fixture
def hang_ups() -> Iterator[Callable[[signal.Handlers], None]]:
    """Says what this process does about SIGHUP, and what it starts by itself; the tests may run under nohup."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_terminal_that_is_closed_stops_it_politely(project, hang_ups):
    hang_ups(signal.SIG_DFL)
    words = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "didact", "run", "tiny.py", "--out", "r", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        while lines_in(project / "r" / "metrics.jsonl") < 3:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGHUP)  # every process of the terminal gets it
        output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "stopped; resume with: didact resume r" in output
    assert RunRecord.open(project / "r").state == "stopped"
    assert any((project / "r" / "checkpoints").glob("step-*"))


def test_a_hang_up_that_is_ignored_stays_ignored(hang_ups):
    hang_ups(signal.SIG_IGN)  # as under nohup
    with stop_requests() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reason == "SIGTERM"


@pytest.mark.slow
def test_a_signal_while_a_checkpoint_is_written_loses_nothing(project, start, didact, assert_equal_runs):
    folder = project / "signalled"
    process = start(folder, {"training.checkpoint_every": 1, "training.num_workers": 0})
    process.until(lambda: lines_in(folder / "metrics.jsonl") >= 3)
    while not any((folder / "checkpoints").glob(".partial-*")):
        assert process.poll() is None, process.said
    terminate(process)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert f"stopped; resume with: didact resume {folder}" in output
    assert not any((folder / "checkpoints").glob(".partial-*"))
    resumed = didact("resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment.evolve(**SETTINGS | {"training.num_workers": 0}), project / "whole")
    assert_equal_runs(project / "whole", folder)


@pytest.mark.slow
def test_ctrl_c_while_workers_start_is_polite_too(project, start):
    folder = project / "early"
    process = start(folder)
    process.until(lambda: lines_in(folder / "events.jsonl") >= 1)  # from here on the loader starts
    time.sleep(0.3)  # its fork server imports
    interrupt_group(process)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "stopped; resume with" in output
    assert len(read_metrics(folder)) < STEPS
