"""Checkpoints that earlier versions wrote, kept as they wrote them, are read."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from didact import run
from didact.learner import build_learner, named_tensors
from didact.optimization import build_optimizer, named_optimizer_state
from didact.record import checkpoint
from didact.record.folder import RunFolder
from didact.record.observing import read_metrics
from didact.run.recovery import newest_whole

OLDEST = Path(__file__).parent / "schema-1"


def stopped_by_the_first_version(folder: Path) -> Path:
    """A run of didact 0.1.0's first schema with its checkpoint of step 3 of 6."""
    shutil.copytree(OLDEST, folder)
    (folder / "checkpoints").mkdir()
    (folder / "step-00000003").rename(folder / "checkpoints" / "step-00000003")
    return folder


def test_schema_1_is_put_back_to_the_bit(project):
    folder = RunFolder.open(stopped_by_the_first_version(project / "r"))
    stored, damaged = newest_whole(folder.checkpoints)
    assert stored is not None
    assert (stored.step, damaged) == (3, [])
    experiment = folder.experiment()
    learner = build_learner(experiment)
    optimizer = build_optimizer(experiment.training, learner)
    checkpoint.load(stored, learner, optimizer)
    weights = load_file(stored.folder / "learner.safetensors")
    state = load_file(stored.folder / "optimizer.safetensors")
    mine, theirs = dict(named_tensors(learner)), dict(named_optimizer_state(optimizer, learner))
    assert mine.keys() == weights.keys()
    assert theirs.keys() == state.keys()
    assert all(torch.equal(mine[name], weights[name]) for name in weights)
    assert all(torch.equal(theirs[name], state[name]) for name in state)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in checkpoint.read_tensors(stored).items())


def test_a_run_goes_on_from_schema_1(project):
    folder = stopped_by_the_first_version(project / "r")
    assert run.resume(folder).outcome == "finished"
    assert [metrics["step"] for metrics in read_metrics(folder)] == [4, 5, 6]
