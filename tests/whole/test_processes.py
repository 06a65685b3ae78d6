"""Runs on several processes, which torchrun starts in some tests: the loss curve equals that of one process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from didact import RunError
from didact.machine.distributed import require_gpus
from didact.record.checkpoint import newest_whole, read_tensors
from didact.record.folder import read_lines, read_metrics
from didact_ablate import find_runs

PLAIN = (
    "backbone.dropout=0",
    "backbone.attention_dropout=0",
    "objective.head.noise=0",
    "training.batch.amount=8",
)  # nothing drawn per process
EXACT = {"rel": 1e-5, "abs": 1e-6}  # float32 sums in another order
ENLARGED = {"rel": 1e-3, "abs": 1e-6}  # the same after steps of Adam, whose direction is that of the gradient's sign


Start = Callable[..., "subprocess.Popen[str]"]
Finish = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def launch(project) -> Iterator[Start]:
    """Begins a command on several processes of this machine; what is still running after the test is stopped."""
    begun: list[subprocess.Popen[str]] = []

    def start(processes: int, *arguments: object, restarts: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        begun.append(
            subprocess.Popen(
                [*command, "--max-restarts", str(restarts), "-m", "didact", *map(str, arguments)],
                cwd=project,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            process.terminate()
            process.communicate()


@pytest.fixture
def torchrun(launch) -> Finish:
    """Runs a command on several processes of this machine."""

    def run(processes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
        started = launch(processes, *arguments)
        out, err = started.communicate(timeout=900)
        return subprocess.CompletedProcess(started.args, started.returncode, out, err)

    return run


@pytest.fixture
def together(project, on_processes) -> Finish:
    """Runs a command on several processes of this machine, without torchrun."""

    def run(processes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
        return on_processes(project, processes, *arguments)

    return run


def process_of_rank(launcher: int, rank: int) -> int:
    """The process of a rank below the launcher's."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if parent == launcher and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


def runs(process: int) -> bool:
    """Whether a process has not ended."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def settings(*changes: str) -> list[str]:
    return [word for change in (*PLAIN, *changes) for word in ("--set", change)]


LONG = settings("training.steps=120", "training.checkpoint_every=20")
SBATCH = Path(__file__).parents[2] / "docs" / "how-to" / "slurm.sbatch"


def losses(folder: Path) -> list[float]:
    return [metrics["train/loss"] for metrics in read_metrics(folder)]


@pytest.fixture(scope="module")
def undisturbed(stores, experiment_text, tmp_path_factory, on_processes) -> list[float]:
    """The losses of a long run on two processes that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.py").write_text(experiment_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIDACT_STORES", str(stores))
        result = on_processes(folder, 2, "run", "tiny.py", "--out", "r", *LONG)
    assert result.returncode == 0, result.stderr
    return losses(folder / "r")


@pytest.fixture
def alone(project, didact) -> Path:
    """The folder of the run on one process."""
    result = didact("run", "tiny.py", "--out", "alone", *settings())
    assert result.returncode == 0, result.stderr
    return project / "alone"


@pytest.mark.parametrize(("processes", "parallel"), [(2, "ddp"), (4, "ddp"), (2, "fsdp")])
def test_several_processes_take_the_curve_of_one(project, together, alone, processes, parallel):
    result = together(processes, "run", "tiny.py", "--out", "r", *settings(f"training.strategy={parallel}"))
    assert result.returncode == 0, result.stderr
    mine, theirs = read_metrics(project / "r"), read_metrics(alone)
    assert [metrics["step"] for metrics in mine] == list(range(1, 9))
    for name in ("train/loss", "train/gradient_norm", "collapse/target_std", "collapse/prediction_std", "data/epoch"):
        assert mine[0][name] == pytest.approx(theirs[0][name], **EXACT), name
        assert [m[name] for m in mine] == pytest.approx([m[name] for m in theirs], **ENLARGED), name
    assert result.stdout.count("finished: r") == 1


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_several_processes_start_from_the_same_trained_weights(project, together, alone, didact, parallel):
    changes = settings('weights={"run": "alone"}', "training.steps=3", f"training.strategy={parallel}")
    result = didact("run", "tiny.py", "--out", "one", *changes)
    assert result.returncode == 0, result.stderr
    result = together(2, "run", "tiny.py", "--out", "two", *changes)
    assert result.returncode == 0, result.stderr
    assert losses(project / "two")[0] == pytest.approx(losses(project / "one")[0], **EXACT)
    assert losses(project / "two") == pytest.approx(losses(project / "one"), **ENLARGED)
    assert losses(project / "two")[0] != pytest.approx(losses(alone)[0], **ENLARGED)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("change", ["activation_checkpointing", "compile"])
def test_several_processes_may_recompute_and_compile(project, together, alone, parallel, change):
    changes = settings(f"training.strategy={parallel}", f"training.{change}=true")
    result = together(2, "run", "tiny.py", "--out", "r", *changes)
    assert result.returncode == 0, result.stderr
    assert losses(project / "r") == pytest.approx(losses(alone), **ENLARGED)


@pytest.mark.parametrize("first", ["ddp", "fsdp"])
def test_a_checkpoint_moves_to_another_number_of_processes(project, together, didact, alone, first):
    """Stopped on two processes after step 6, and taken up by one; and the other way round."""
    changes = settings(f"training.strategy={first}")
    result = together(2, "run", "tiny.py", "--out", "r", *changes)
    assert result.returncode == 0, result.stderr
    shutil.rmtree(project / "r" / "checkpoints" / "step-00000008")  # as if it had been killed after step 7
    result = didact("resume", "r")
    assert result.returncode == 0, result.stderr
    assert losses(project / "r") == pytest.approx(losses(alone), **ENLARGED)
    ends = [
        read_tensors(newest)
        for folder in (project / "r", alone)
        if (newest := newest_whole(folder / "checkpoints")[0]) is not None
    ]
    assert ends[0].keys() == ends[1].keys()
    for name, weight in ends[0].items():
        torch.testing.assert_close(weight, ends[1][name], rtol=1e-2, atol=2e-4, msg=name)

    shutil.rmtree(project / "r" / "checkpoints" / "step-00000008")
    result = together(2, "resume", "r")
    assert result.returncode == 0, result.stderr
    assert losses(project / "r") == pytest.approx(losses(alone), **ENLARGED)


def test_a_process_that_fails_ends_the_others_with_its_own_message(project, torchrun):
    result = torchrun(2, "run", "tiny.py", "--out", "r", *settings("training.batch.amount=1"))
    assert result.returncode != 0
    assert "a batch of 1 samples cannot be shared by 2 processes" in result.stderr
    assert "Traceback" not in result.stderr.split("torch/distributed/elastic")[0]


@pytest.mark.xdist_group("undisturbed")
def test_a_killed_process_ends_the_job_and_the_run_goes_on_from_its_checkpoint(project, launch, together, undisturbed):
    begun = launch(2, "run", "tiny.py", "--out", "r", *LONG)
    while len(losses(project / "r")) < 30:
        assert begun.poll() is None, begun.communicate()[1]
        time.sleep(0.05)
    os.kill(process_of_rank(begun.pid, 1), signal.SIGKILL)
    _, err = begun.communicate(timeout=900)
    assert begun.returncode != 0
    assert "process 0 of 2 lost the others: one of them ended" in err
    resumed = together(2, "resume", "r")
    assert resumed.returncode == 0, resumed.stderr
    assert losses(project / "r") == undisturbed  # to the bit: as many processes as before


@pytest.mark.xdist_group("undisturbed")
@pytest.mark.parametrize(("rank", "out"), [(0, ()), (1, ("--out", "r"))])
def test_torchrun_restarts_a_run_where_its_checkpoint_left_it(project, launch, undisturbed, rank, out):
    begun = launch(2, "run", "tiny.py", *out, *LONG, restarts=1)
    while not any(run.step >= 30 for run in find_runs(project)):
        assert begun.poll() is None, begun.communicate()[1]
        time.sleep(0.05)
    os.kill(process_of_rank(begun.pid, rank), signal.SIGKILL)
    said, err = begun.communicate(timeout=900)
    assert begun.returncode == 0, err
    (run,) = find_runs(project)
    assert said.count(f"finished: {run.folder.relative_to(project)}") == 1
    assert [event["event"] for event in read_lines(run.folder / "events.jsonl")].count("started") == 2
    assert losses(run.folder) == undisturbed


def test_a_launch_that_was_not_restarted_goes_on_with_no_run_by_itself(project, together, torchrun):
    for start, expected in ((together, True), (torchrun, False)):
        result = start(2, "run", "tiny.py", "--out", "r", *settings("training.steps=1"))
        assert (result.returncode == 0) == expected, result.stderr
    assert "there is a run in this folder already" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody notices")
def test_a_launcher_that_is_killed_leaves_a_checkpoint_and_nobody_behind(project, launch):
    begun = launch(2, "run", "tiny.py", "--out", "r", *settings("training.steps=3000"))
    while len(losses(project / "r")) < 20:
        assert begun.poll() is None, begun.communicate()[1]
        time.sleep(0.05)
    left = [process_of_rank(begun.pid, rank) for rank in (0, 1)]
    begun.kill()
    begun.communicate(timeout=300)
    given_up = time.monotonic() + 300
    while any(runs(process) for process in left):
        assert time.monotonic() < given_up, "a process of the run stayed behind"
        time.sleep(0.05)
    newest, _ = newest_whole(project / "r" / "checkpoints")
    assert newest is not None
    assert newest.step == len(losses(project / "r")) < 3000


def test_each_process_needs_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    require_gpus(torch.device("cpu"))
    with pytest.raises(RunError, match="2 processes would share 1 GPUs") as caught:
        require_gpus(torch.device("cuda"))
    assert "--device cpu" in caught.value.hint
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    require_gpus(torch.device("cuda"))


SLURM = {  # the two commands of Slurm's that the script calls
    "srun": 'exec "$@"',
    "scontrol": 'if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> scontrol.log; fi',
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_the_slurm_script_requeues_a_run_that_was_stopped_and_ends_with_one_that_is_over(project, monkeypatch):
    (project / "bin").mkdir()
    for name, body in SLURM.items():
        (project / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (project / "bin" / name).chmod(0o755)
    path = os.pathsep.join([str(project / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    text = SBATCH.read_text().replace("--nproc-per-node auto", "--nproc-per-node 2").replace(":29500", f":{_free()}")
    (project / "slurm.sbatch").write_text(text.replace('run "$experiment"', f'run "$experiment" {" ".join(LONG)}'))
    for variable, value in {"PATH": path, "SLURM_NNODES": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a"}.items():
        monkeypatch.setenv(variable, value)

    def submitted() -> subprocess.Popen[str]:
        command = ["bash", "slurm.sbatch", "tiny.py", "r"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    job = submitted()
    while len(losses(project / "r")) < 20:
        assert job.poll() is None, job.communicate()[1]
        time.sleep(0.05)
    (torchrun,) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(torchrun), signal.SIGTERM)  # which is what srun hands on
    _, err = job.communicate(timeout=900)
    assert (project / "scontrol.log").read_text() == "requeue 7\n", err
    assert 20 <= len(losses(project / "r")) < 120

    again = submitted()
    out, err = again.communicate(timeout=900)
    assert again.returncode == 0, err
    assert "finished: r" in out
    assert len(losses(project / "r")) == 120
    assert (project / "scontrol.log").read_text() == "requeue 7\n"  # nothing was added


def _free() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_sigterm_to_one_process_stops_all_with_a_checkpoint(project, launch):
    begun = launch(2, "run", "tiny.py", "--out", "r", *settings("training.steps=3000"))
    while len(losses(project / "r")) < 20:
        assert begun.poll() is None, begun.communicate()[1]
        time.sleep(0.05)
    os.kill(process_of_rank(begun.pid, 1), signal.SIGTERM)
    out, err = begun.communicate(timeout=900)
    assert begun.returncode == 0, err
    assert "stopped; resume with: didact resume r" in out
    newest, _ = newest_whole(project / "r" / "checkpoints")
    assert newest is not None
    assert newest.step == len(losses(project / "r"))
