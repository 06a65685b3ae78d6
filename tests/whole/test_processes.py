"""Runs on several processes, started by torchrun as their user starts them: the curve is that of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from didact.observing import read_metrics

PLAIN = ("backbone.dropout=0", "objective.head.noise=0", "training.batch.amount=8")  # nothing drawn per process
EXACT = {"rel": 2e-4, "abs": 1e-6}  # eight steps of Adam enlarge what float32 sums differ by in another order


@pytest.fixture
def torchrun(project) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command on several processes of this machine."""

    def start(processes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        return subprocess.run(
            [*command, "-m", "didact", *map(str, arguments)],
            cwd=project,
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    return start


def settings(*changes: str) -> list[str]:
    return [word for change in (*PLAIN, *changes) for word in ("--set", change)]


def losses(folder: Path) -> list[float]:
    return [metrics["train/loss"] for metrics in read_metrics(folder)]


@pytest.fixture
def alone(project, didact) -> Path:
    """The folder of the run on one process."""
    result = didact("run", "tiny.py", "--out", "alone", *settings())
    assert result.returncode == 0, result.stderr
    return project / "alone"


@pytest.mark.parametrize(("processes", "parallel"), [(2, "ddp"), (4, "ddp"), (2, "fsdp")])
def test_several_processes_take_the_curve_of_one(project, torchrun, alone, processes, parallel):
    result = torchrun(processes, "run", "tiny.py", "--out", "r", *settings(f"training.parallel={parallel}"))
    assert result.returncode == 0, result.stderr
    mine, theirs = read_metrics(project / "r"), read_metrics(alone)
    assert [metrics["step"] for metrics in mine] == list(range(1, 9))
    for name in ("train/loss", "train/gradient_norm", "collapse/target_std", "collapse/prediction_std", "data/epoch"):
        assert [m[name] for m in mine] == pytest.approx([m[name] for m in theirs], **EXACT), name
    assert result.stdout.count("finished: r") == 1
