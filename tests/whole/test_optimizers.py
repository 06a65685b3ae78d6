"""Runs with each optimizer: killed and resumed to the bit, and on several processes as on one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from didact import Cosine, Optimizer, ParameterGroup, run
from didact.contracts.optimizer import AdamW
from didact.experiment import Experiment
from didact.experiment_file import load_experiment
from didact.record.checkpoint import OPTIMIZER, newest_whole, read_tensors
from didact.record.folder import read_metrics
from didact_optimizers import LARS, SGD, Muon

OPTIMIZERS = {
    "adamw": AdamW(learning_rate=1e-3),
    "sgd": SGD(learning_rate=1e-2, nesterov=True),
    "sgd without momentum": SGD(learning_rate=1e-2, momentum=0.0),
    "lars": LARS(learning_rate=1.0, weight_decay=1e-2),
    "muon": Muon(learning_rate=1e-3),
}
GROUPS = (
    ParameterGroup(parameters="network.encoder.*", frozen_steps=None),
    ParameterGroup(parameters="objective.*", frozen_steps=7, learning_rate_scale=0.5),  # beyond the last checkpoint
)


def tiny(optimizer: Optimizer, **training: object) -> Experiment:
    changes = {"optimizer": optimizer, "layer_decay": 0.8, "weight_decay_schedule": Cosine(initial=0.1, final=1.0)}
    changes |= {"parameter_groups": GROUPS} | training
    experiment, _ = load_experiment("tiny.py")
    return experiment.evolve(**{f"training.{name}": value for name, value in changes.items()})


def killed_before_the_end(folder: Path) -> Path:
    """A copy of a run's folder without the last checkpoint, as if it had been killed after the one before."""
    other = folder.with_name(f"{folder.name}-killed")
    shutil.copytree(folder, other)
    shutil.rmtree(max((other / "checkpoints").glob("step-*")))
    return other


def state(folder: Path) -> dict[str, torch.Tensor]:
    newest, _ = newest_whole(folder / "checkpoints")
    assert newest is not None
    assert newest.step == 8
    return {
        f"{part}/{name}": value for part in ("learner", OPTIMIZER) for name, value in read_tensors(newest, part).items()
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_that_was_killed_goes_on_to_the_bit(project, name, curve):
    run.start(tiny(OPTIMIZERS[name]), project / "r")
    killed = killed_before_the_end(project / "r")
    assert run.resume(killed).step == 8
    mine, theirs = state(killed), state(project / "r")
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []
    assert curve(killed) == curve(project / "r")
    kept = {key.rpartition("/")[0] for key in mine if key.startswith(OPTIMIZER)}
    assert not any("network.encoder" in key for key in kept)
    assert bool(kept) == (name != "sgd without momentum")
    assert any("objective" in key for key in kept) == bool(kept)  # it moved in the last step


@pytest.mark.parametrize("change", [{"momentum": 0.5}, {"learning_rate": 0.5}])
def test_a_run_does_not_go_on_with_another_optimizer(project, didact, change):
    run.start(tiny(OPTIMIZERS["lars"], steps=3), project / "r")
    ((field, value),) = change.items()
    refused = didact("resume", "r", "--set", f"training.optimizer.{field}={value}")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: this run is of an experiment that trains something else")


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from didact import run
from didact.machine.distributed import joined
from optimizers_of_test import OPTIMIZERS, killed_before_the_end, tiny
with joined() as world:
    for name in ("lars", "muon"):
        folder = Path(f"{sys.argv[2]}-{name}")
        run.start(tiny(OPTIMIZERS[name], strategy=sys.argv[2]), folder, device="cpu")
        with world.main_first():
            if world.main:
                killed_before_the_end(folder)
        run.resume(folder.with_name(f"{folder.name}-killed"), device="cpu")
"""


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_go_on_to_the_bit_and_take_the_curve_of_one(project, strategy):
    shutil.copy(__file__, project / "optimizers_of_test.py")
    (project / "both.py").write_text(SCRIPT)
    drawn_per_process = {
        "dropout=0.1": "dropout=0.0, attention_dropout=0.0",
        "groups=4": "groups=4, noise=0.0",
        "BatchSize.samples(6)": "BatchSize.samples(8)",
    }
    text = (project / "tiny.py").read_text()
    for random, plain in drawn_per_process.items():
        assert random in text
        text = text.replace(random, plain)
    (project / "tiny.py").write_text(text)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "both.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(project), strategy], cwd=project, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    for name in ("lars", "muon"):
        mine, theirs = (state(project / f"{strategy}-{name}{end}") for end in ("-killed", ""))
        assert mine.keys() == theirs.keys()
        assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []
        run.start(tiny(OPTIMIZERS[name]), project / name)
        alone = state(project / name)
        assert alone.keys() == mine.keys()
        losses = [
            [line["train/loss"] for line in read_metrics(project / folder)] for folder in (name, f"{strategy}-{name}")
        ]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
