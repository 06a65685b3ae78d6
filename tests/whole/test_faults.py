"""Faults of a long run: each ends with one message, without a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from didact import RunError, run
from didact.record.folder import read_metrics
from didact_distill.ema import EMATeacherModule
from didact_distill.regression import LatentRegressionModule

STEPS = 150  # enough that a fault comes long before the end

slow = pytest.mark.slow  # in real processes


@pytest.fixture
def own_store(project, stores, monkeypatch) -> Path:
    """A copy of the store, to be destroyed."""
    shutil.copytree(stores / "tiny", project / "stores" / "tiny")
    monkeypatch.setenv("DIDACT_STORES", str(project / "stores"))
    return project / "stores" / "tiny"


@pytest.fixture
def train(begin) -> Callable:
    """Starts a run in a process of its own, and returns when it has taken three steps."""

    def start(folder: Path, *settings: str, file: str = "tiny.py"):
        fixed = (f"training.steps={STEPS}", "training.checkpoint_every=1000")
        words = [word for setting in (*fixed, *settings) for word in ("--set", setting)]
        process = begin("run", file, "--out", folder, *words)
        metrics = folder / "metrics.jsonl"
        process.until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 3)
        return process

    return start


def assert_ends_with_a_checkpoint(process, folder: Path) -> str:
    """Exit code 1, one message, and a checkpoint of the last step that was taken; returns the message."""
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1, errors
    assert errors.count("error: ") == 1
    assert "Traceback" not in errors
    last = int(read_metrics(folder)[-1]["step"])
    assert 3 <= last < STEPS
    assert (folder / "checkpoints" / f"step-{last:08d}" / "checkpoint.json").exists()
    assert f"`didact resume {folder}` resumes from step {last}" in errors
    event = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert (event["event"], event["step"]) == ("failed", last)
    return errors[errors.index("error: ") :]


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def num_workers(process: int) -> list[int]:
    """The processes that load data: the children of the fork server's, which is a child of the run's."""
    return [worker for child in children(process) for worker in children(child)]


def pending(process: int, number: signal.Signals) -> bool:
    """Whether a signal that was sent to a process has not reached it yet."""
    status = Path(f"/proc/{process}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


def session(leader: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            found += [int(folder.name)] if int(of) == leader and state != "Z" else []
    return found


@slow
def test_a_killed_run_leaves_no_process_behind(project, train):
    process = train(project / "r", "training.num_workers=2")
    assert len(num_workers(process.pid)) == 2
    assert len(session(process.pid)) > 3  # the run, its fork server, the workers
    process.kill()
    process.wait()
    given_up = time.monotonic() + 300
    while left := session(process.pid):
        assert time.monotonic() < given_up, [Path(f"/proc/{pid}/cmdline").read_text() for pid in left]
        time.sleep(0.01)


@slow
def test_a_killed_worker_ends_the_run_with_a_checkpoint(project, train, didact):
    folder = project / "r"
    process = train(folder, "training.num_workers=1")
    (worker,) = num_workers(process.pid)
    os.kill(worker, signal.SIGKILL)
    message = assert_ends_with_a_checkpoint(process, folder)
    assert "a process that loads data ended" in message
    assert didact("resume", folder).returncode == 0


@slow
def test_a_store_that_is_cut_short_while_it_is_read_ends_the_run_with_a_checkpoint(project, own_store, train, stores):
    folder = project / "r"
    process = train(folder, "training.num_workers=1")
    os.truncate(own_store / "data.mdb", 0)  # what is mapped of it is gone: reading it kills the worker
    message = assert_ends_with_a_checkpoint(process, folder)
    assert "a process that loads data ended" in message


@slow
def test_a_store_whose_bytes_change_while_it_is_read_ends_the_run_with_a_checkpoint(project, own_store, train):
    folder = project / "r"
    process = train(folder, "training.num_workers=1")
    with (own_store / "data.mdb").open("r+b") as file:
        file.write(os.urandom((own_store / "data.mdb").stat().st_size))
    assert_ends_with_a_checkpoint(process, folder)


@slow
def test_a_store_that_is_deleted_while_it_is_open_is_still_read(project, own_store, train, didact):
    folder = project / "r"
    process = train(folder, "training.num_workers=1", "training.steps=40")
    shutil.rmtree(own_store)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors  # the system keeps an open file
    assert "finished" in output
    resumed = didact("resume", folder)
    assert resumed.returncode == 1
    assert resumed.stderr.startswith("error: ")
    assert "there is no store 'tiny'" in resumed.stderr
    assert "Traceback" not in resumed.stderr


@slow
def test_a_tracker_whose_repository_is_removed_leaves_the_training_alone(project, train):
    text = (project / "tiny.py").read_text()
    text = text.replace("experiment = Experiment(", "from didact_aim import Aim\n\nexperiment = Experiment(")
    text = text.replace('name="tiny-images",', 'name="tiny-images",\n    observers=(Aim(repository="tracking"),),')
    (project / "tracked.py").write_text(text)
    folder = project / "r"
    process = train(folder, file="tracked.py")
    (project / "tracking").rename(project / "gone")  # at once, so that the run cannot write into what is half there
    shutil.rmtree(project / "gone", ignore_errors=True)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "finished" in output
    # before and behind that line, Aim's own clean-up may complain of what it cannot close
    (warning,) = [line for line in errors.splitlines() if "the observer 'Aim-0 of didact-aim 0.1.0'" in line]
    assert warning.startswith("warning: ")
    assert "failed in step_finished and is switched off" in warning
    assert [metrics["step"] for metrics in read_metrics(folder)] == list(range(1, STEPS + 1))


@pytest.fixture
def make_read_only() -> Iterator[Callable[[Path], None]]:
    """Turns a folder read-only under a running process, as a file system does that finds itself damaged."""
    mounted: list[Path] = []

    def mount(*options: str | Path) -> str:
        return subprocess.run(["mount", *options], capture_output=True, text=True).stderr

    def turn(folder: Path) -> None:
        if refused := mount("--bind", folder, folder):
            pytest.skip(f"no file system can be mounted here: {refused}")
        mounted.append(folder)
        while "busy" in (refused := mount("-o", "remount,ro,bind", folder)):
            time.sleep(0.01)  # the run is just writing there
        assert not refused

    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    yield turn
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@slow
def test_a_folder_that_turns_read_only_ends_the_run_which_is_resumed_later(project, train, didact, make_read_only):
    folder = project / "r"
    process = train(folder, "training.checkpoint_every=2")
    while not list((folder / "checkpoints").glob("step-*")):
        time.sleep(0.01)
    make_read_only(folder)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1
    assert errors.count("error: ") == 1
    assert "cannot be written: Read-only file system" in errors
    assert "make it writable and resume" in errors
    assert "Traceback" not in errors
    refused = didact("resume", folder)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: the run's folder cannot be written: Read-only file system")
    subprocess.run(["umount", "-l", folder], check=True)
    subprocess.run(["mount", "--bind", folder, folder], check=True)  # for the fixture to undo
    resumed = didact("resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    assert [metrics["step"] for metrics in read_metrics(folder)] == list(range(1, STEPS + 1))


@slow
def test_a_second_process_on_a_folder_is_refused_and_harms_nothing(project, train, didact):
    folder = project / "r"
    process = train(folder)
    os.kill(process.pid, signal.SIGSTOP)  # it holds the folder for as long as the other takes to come
    second = didact("resume", folder)
    os.kill(process.pid, signal.SIGCONT)
    assert second.returncode == 1
    assert second.stderr.startswith("error: another process is running in this folder")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert [metrics["step"] for metrics in read_metrics(folder)] == list(range(1, STEPS + 1))


SLOW_EVALUATION = """

import attrs
import time
from pathlib import Path
from didact import Evaluation, Report, hookimpl


@attrs.frozen(kw_only=True)
class Slow(Evaluation):
    '''An evaluation that waits.'''

    def evaluate(self, state):
        Path("evaluating").touch()
        while not Path("enough").exists():
            time.sleep(0.01)
        return Report(metrics={"one": 1.0})


@hookimpl
def didact_components():
    return {"slow": Slow}
"""


@pytest.fixture
def evaluated(project, write_plugin, install, train) -> Callable:
    """A run that is in an evaluation, which ends when there is a file ``enough``."""

    def start():
        install(write_plugin("slow_parts", SLOW_EVALUATION))
        text = (project / "tiny.py").read_text()
        text = text.replace("experiment = Experiment(", "from slow_parts import Slow\n\nexperiment = Experiment(")
        text = text.replace('name="tiny-images",', 'name="tiny-images",\n    evaluations={"slow": Slow()},')
        (project / "slow.py").write_text(text)
        process = train(project / "r", "training.evaluate_every=5", file="slow.py")
        process.until((project / "evaluating").exists)
        return process

    return start


@slow
def test_a_signal_in_an_evaluation_is_answered_after_it(project, evaluated):
    process = evaluated()
    process.terminate()
    (project / "enough").touch()
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert f"stopped; resume with: didact resume {project / 'r'}" in output
    assert (project / "r" / "checkpoints" / "step-00000005" / "checkpoint.json").exists()


@slow
def test_a_second_ctrl_c_ends_the_run_at_once(project, evaluated):
    process = evaluated()
    os.killpg(process.pid, signal.SIGINT)
    process.until(lambda: not pending(process.pid, signal.SIGINT))  # two that wait at once would count as one
    time.sleep(0.5)
    assert process.poll() is None  # the first one waits for the evaluation
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.strip().endswith("interrupted")
    assert "Traceback" not in errors


# ── Memory ────────────────────────────────────────────────────────────────────────────────────────────────────────────

CPU_IS_FULL = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 8 bytes")
FULL = {
    "python": MemoryError("no more"),
    "cpu": CPU_IS_FULL,
    "onednn": RuntimeError("could not create a primitive"),
    "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
}
FAILS_IN = 4  # the step, from 1


@pytest.fixture
def fill_memory(monkeypatch):
    """Has one call of a method raise, before or after its work; returns a function that frees the memory."""

    def arrange(owner: type, method: str, error: Exception, call: int, *, after: bool = False) -> Callable[[], None]:
        original, calls = getattr(owner, method), []

        def run_out(*arguments, **named):
            calls.append(1)
            if len(calls) != call:
                return original(*arguments, **named)
            if after:
                original(*arguments, **named)
            raise error

        monkeypatch.setattr(owner, method, run_out)
        return lambda: monkeypatch.setattr(owner, method, original)

    return arrange


def failure_of(experiment, folder: Path) -> RunError:
    """The error of a run that memory ends, checked for what holds wherever it ran out."""
    with pytest.raises(RunError) as caught:
        run.start(experiment, folder)
    assert caught.value.what.startswith(f"step {FAILS_IN} does not fit into memory: ")
    assert caught.value.where == "training.batch"
    assert "resume with --set training.gradient_accumulation_steps=2" in caught.value.hint
    assert [line["step"] for line in read_metrics(folder)] == list(range(1, FAILS_IN))
    return caught.value


@pytest.mark.parametrize("kind", FULL)
def test_memory_that_runs_out_in_forward_ends_the_run_with_a_checkpoint(
    faulty, tmp_path, fill_memory, assert_equal_runs, kind
):
    experiment = faulty("nan", (), "norm", checkpoint_every=None)
    run.start(experiment, tmp_path / "whole")
    # the first call is the rehearsal's; running statistics have moved when the objective runs
    free = fill_memory(LatentRegressionModule, "forward", FULL[kind], FAILS_IN + 1)
    error = failure_of(experiment, tmp_path / "r")
    assert str(FULL[kind]) in error.what
    assert f"`didact resume {tmp_path / 'r'}` resumes from step {FAILS_IN - 1}" in error.hint
    free()
    assert run.resume(tmp_path / "r").outcome == "finished"
    assert_equal_runs(tmp_path / "r", tmp_path / "whole")


def test_memory_that_runs_out_before_the_weights_change_ends_the_run_with_a_checkpoint(
    faulty, tmp_path, fill_memory, assert_equal_runs
):
    experiment = faulty("nan", (), checkpoint_every=None)
    run.start(experiment, tmp_path / "whole")
    free = fill_memory(torch.optim.AdamW, "step", CPU_IS_FULL, FAILS_IN)
    error = failure_of(experiment, tmp_path / "r")
    assert f"`didact resume {tmp_path / 'r'}` resumes from step {FAILS_IN - 1}" in error.hint
    free()
    assert run.resume(tmp_path / "r").outcome == "finished"
    assert_equal_runs(tmp_path / "r", tmp_path / "whole")


@pytest.mark.parametrize(
    ("owner", "method", "after"),
    [
        (torch.optim.AdamW, "step", True),
        (EMATeacherModule, "after_step", False),
        (EMATeacherModule, "after_step", True),
    ],
)
def test_memory_that_runs_out_in_a_half_done_update_leaves_the_checkpoint_before(
    faulty, tmp_path, fill_memory, assert_equal_runs, owner, method, after
):
    experiment = faulty("nan", (), checkpoint_every=2)
    run.start(experiment, tmp_path / "whole")
    free = fill_memory(owner, method, CPU_IS_FULL, FAILS_IN, after=after)
    error = failure_of(experiment, tmp_path / "r")
    assert error.hint.startswith("the update was half done, so there is no checkpoint of it; ")
    assert [path.name for path in (tmp_path / "r" / "checkpoints").iterdir()] == ["step-00000002"]
    free()
    assert run.resume(tmp_path / "r").outcome == "finished"
    assert_equal_runs(tmp_path / "r", tmp_path / "whole")


def test_another_error_of_the_same_class_is_no_lack_of_memory(faulty, tmp_path, fill_memory):
    fill_memory(LatentRegressionModule, "forward", RuntimeError("shapes do not match"), FAILS_IN + 1)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run.start(faulty("nan", ()), tmp_path / "r")
