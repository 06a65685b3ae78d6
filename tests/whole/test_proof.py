"""Determinism: runs that are killed at random moments give the same curve, with a checkpoint at every step."""

from __future__ import annotations

import shutil

import attrs
import pytest

from didact import run
from didact.experiment_file import load_experiment
from didact.record.folder import RunFolder, read_metrics
from didact_doctor.proof import compare, prove, shortened
from didact_evaluate import RepresentationMetrics

KILLS = {"images": 20, "speech": 7, "text": 7}
EVERYTHING = {
    "network",
    "objective",
    "targets",
    "optimizer of network",
    "optimizer of objective",
    "metrics",
    "evaluations",
}


@pytest.mark.slow
def test_many_kills_change_nothing(modality, make_experiment, project):
    experiment = make_experiment(modality).evolve(**{"training.num_workers": 0})
    experiment = attrs.evolve(experiment, evaluations={"health": RepresentationMetrics(samples=8)})
    # more than count: the last may come when the run has just ended
    kills = KILLS[modality]
    proof = prove(experiment, project / "proof", steps=2 * (kills + 5), kills=kills + 5)
    assert [c.different for c in proof.comparisons] == [()] * len(proof.comparisons)
    assert {c.what for c in proof.comparisons if c.count} >= EVERYTHING
    assert len(proof.kills) >= kills
    assert len({kill.step for kill in proof.kills}) > kills // 3, "all kills met the same steps"
    if modality == "images":
        assert any(kill.writing for kill in proof.kills), "no kill met a checkpoint that was being written"
    assert not list((project / "proof" / "killed" / "checkpoints").glob("damaged-*")), "a half checkpoint was read"


@pytest.mark.slow
def test_workers_may_be_killed_with_the_run(make_experiment, project):
    experiment = make_experiment("images").evolve(**{"training.num_workers": 2})
    assert prove(experiment, project / "proof", steps=40, kills=2).holds


@pytest.mark.slow
def test_a_part_that_keeps_state_outside_of_its_tensors_is_found(faulty, project):
    proof = prove(faulty("nan", (), curve="tired"), project / "proof", steps=60, kills=3)
    different = {c.what: c.different for c in proof.comparisons if c.different}
    assert not proof.holds
    assert {"network", "metrics"} <= different.keys()
    assert "against" in different["metrics"][0]


def test_the_command_shows_what_it_compared_and_leaves_the_run_unchanged(project, didact):
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment, project / "r")
    before = (project / "r" / "events.jsonl").read_bytes()
    shown = didact("prove", "r", "--steps", "60", "--kills", "2")
    assert shown.returncode == 0, shown.stderr
    assert "one curve: everything is equal to the bit" in shown.stdout
    assert "optimizer of network" in shown.stdout
    assert (project / "r" / "events.jsonl").read_bytes() == before
    assert {path.name for path in project.iterdir()} >= {"r", "tiny.py"}
    assert not list(project.glob("r-proof*"))


def test_each_difference_is_found_and_named(project):
    experiment = shortened(load_experiment("tiny.py")[0], 2)
    run.start(experiment, project / "one")
    shutil.copytree(project / "one", project / "other")
    one, other = RunFolder.open(project / "one"), RunFolder.open(project / "other")
    assert not any(c.different for c in compare(one, other))
    lines = (project / "other" / "metrics.jsonl").read_text().splitlines()
    value = read_metrics(project / "other")[0]["train/loss"]
    (project / "other" / "metrics.jsonl").write_text(lines[0].replace(str(value), "0.5") + "\n")
    metrics = next(c for c in compare(one, other) if c.what == "metrics")
    assert f"train/loss of step 1: {value!r} against 0.5" in metrics.different
    assert "train/loss of step 2 is only in the uninterrupted run" in metrics.different


def test_a_short_copy_is_the_experiment_but_for_its_length(project):
    experiment, _ = load_experiment("tiny.py")
    copy = shortened(experiment, 4)
    assert (copy.training.steps, copy.training.evaluate_every, copy.training.checkpoint_every) == (4, 2, 1)
    back = {field: getattr(experiment.training, field) for field in attrs.fields_dict(type(copy.training))}
    assert attrs.evolve(copy, training=type(copy.training)(**back), observers=experiment.observers) == experiment
