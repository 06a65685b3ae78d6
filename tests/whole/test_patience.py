"""Runs that end early because the metric that chooses the best checkpoint no longer improves."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import attrs
import pytest

from didact import SpecError, run
from didact.experiment_file import load_experiment
from didact.record import RunFolder, RunRecord
from didact.record.checkpoint import all_complete
from didact.record.folder import read_lines, read_metrics
from didact.serialization import fingerprint

PLUGIN = '''
from __future__ import annotations
import time
import attrs
from didact import Evaluation, Report, hookimpl


@attrs.frozen(kw_only=True)
class Listed(Evaluation):
    """An evaluation with known values.

    Attributes:
        values: the value at each evaluation, every second step; None is NaN.
        seconds: how long an evaluation takes.
    """

    values: tuple[float | None, ...]
    seconds: float = 0.0

    def evaluate(self, state):
        time.sleep(self.seconds)
        value = self.values[state.step // 2 - 1]
        metrics = {"score": float("nan") if value is None else value}
        return Report(metrics=metrics | ({"control": 0.5} if state.finished else {}))


@hookimpl
def didact_components():
    return {"listed": Listed}
'''


@pytest.fixture
def make(project, write_plugin, install):
    """An experiment of 12 steps that is evaluated every second step, with known values."""
    install(write_plugin("known_values", PLUGIN))
    listed = importlib.import_module("known_values").Listed

    def experiment(values, seconds=0.0, **training):
        changes = {
            "steps": 12,
            "evaluate_every": 2,
            "checkpoint_every": 2,
            "keep_checkpoints": 1,
            "keep_best": "found/score",
            "patience": 2,
        } | training
        one = attrs.evolve(
            load_experiment("tiny.py")[0], evaluations={"found": listed(values=tuple(values), seconds=seconds)}
        )
        return one.evolve(**{f"training.{name}": value for name, value in changes.items()})

    return experiment


@pytest.mark.parametrize(
    ("values", "patience", "best", "end", "kept"),
    [
        ([0.1, 0.3, 0.2, 0.25, 0.9, 1.0], 2, "found/score", 8, {4, 8}),  # the better ones come too late
        ([0.1, 0.3, 0.2, 0.4, 0.1, 0.1], 2, "found/score", 12, {8, 12}),  # ends with the last step
        ([0.5, 0.5, 0.5, 0.6, 0.7, 0.8], 2, "found/score", 6, {6}),  # equal is not better, and the newer one is kept
        ([0.3, 0.2, 0.1, 0.4, 0.5, 0.0], 2, "-found/score", 10, {6, 10}),
        ([None, 0.1, None, None, 0.2, 0.3], 2, "found/score", 8, {4, 8}),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 1, "found/score", 12, {12}),
    ],
)
def test_a_run_ends_after_as_many_values_without_improvement(make, project, values, patience, best, end, kept):
    result = run.start(make(values, patience=patience, keep_best=best), project / "r")
    assert (result.outcome, result.step) == ("finished", end)
    assert [metrics["step"] for metrics in read_metrics(project / "r")] == list(range(1, end + 1))
    assert {one.step for one in all_complete(project / "r" / "checkpoints")} == kept
    record = RunRecord.open(project / "r")
    assert (record.state, record.step, record.end, record.steps) == ("finished", end, end, 12)
    assert record.evaluated
    assert record.found["found/control"] == 0.5  # a run that ended early has its controls


def test_the_record_says_that_a_run_ended_early(make, project):
    run.start(make([0.3, 0.2, 0.1, 0.4, 0.5, 0.6]), project / "r")
    (end,) = [event for event in read_lines(project / "r" / "events.jsonl") if event["event"] == "finished"]
    assert (end["step"], end["early"]) == (6, "training.patience was exhausted")
    readme = (project / "r" / "README.md").read_text()
    assert "finished at step 6 of 12" in readme
    assert "It ended early: `found/score` did not improve for 2 values" in readme
    assert "didact resume" not in readme


def test_a_run_that_ended_early_is_not_continued_but_its_missing_evaluations_are_run(make, project):
    run.start(make([0.3, 0.2, 0.1, 0.4, 0.5, 0.6]), project / "r")
    before = read_metrics(project / "r")
    assert run.resume(project / "r").step == 6
    (project / "r" / "evaluations" / "found-00000006.json").unlink()
    assert not RunRecord.open(project / "r").evaluated
    assert run.resume(project / "r").step == 6
    assert RunRecord.open(project / "r").evaluated
    assert read_metrics(project / "r") == before


def test_a_run_killed_between_its_two_last_evaluations_gets_the_controls(make, project):
    run.start(make([0.3, 0.2, 0.1, 0.4, 0.5, 0.6]), project / "r")
    path = project / "r" / "evaluations" / "found-00000006.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "final": False, "metrics": {"score": 0.1}}))
    assert not RunRecord.open(project / "r").evaluated
    run.resume(project / "r")
    assert json.loads(path.read_text()) == stored


def test_more_patience_continues_a_run_that_ended_early(make, project, assert_equal_runs):
    values = [0.3, 0.2, 0.1, 0.4, 0.5, 0.6]
    run.start(make(values), project / "r")
    RunFolder.open(project / "r").amend(make(values, patience=3))
    assert run.resume(project / "r").step == 12
    run.start(make(values, patience=3), project / "whole")
    assert_equal_runs(project / "whole", project / "r")


def test_a_logged_metric_may_end_a_run(make, project):
    """The learning rate rises for two steps and then falls."""
    result = run.start(make([0.1] * 6, keep_best="train/learning_rate", patience=4, checkpoint_every=1), project / "r")
    rates = {int(metrics["step"]): metrics["train/learning_rate"] for metrics in read_metrics(project / "r")}
    best = max(rates, key=lambda step: (rates[step], -step))
    assert (result.outcome, result.step) == ("finished", best + 4)
    assert RunRecord.open(project / "r").evaluated  # at a step that is not due otherwise
    assert run.resume(project / "r").step == best + 4


def test_killed_and_resumed_runs_end_at_the_same_step(make, project, assert_equal_runs):
    """Killed at any moment, such as within an evaluation or between an evaluation and the next checkpoint."""
    values, end = [0.1, 0.5, 0.2, 0.3, 0.4, 0.9], 10
    run.start(make(values, patience=3), project / "whole")
    assert RunRecord.open(project / "whole").end == end
    RunFolder.create(project / "r", make(values, seconds=0.3, patience=3))
    command = [sys.executable, "-m", "didact", "resume", "r", "--device", "cpu"]
    kills, late = 0, 0.0
    while RunRecord.open(project / "r").state != "finished":
        events = len(read_lines(project / "r" / "events.jsonl"))
        process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, env=os.environ)
        while process.poll() is None and len(read_lines(project / "r" / "events.jsonl")) < events + 3:
            time.sleep(0.01)
        time.sleep(late)
        late = (late + 0.13) % 0.4
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        assert kills < 20
    assert kills >= 3
    assert RunRecord.open(project / "r").end == end
    assert_equal_runs(project / "whole", project / "r")
    kept = [{one.step for one in all_complete(project / name / "checkpoints")} for name in ("r", "whole")]
    assert kept[0] == kept[1] == {4, 10}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keep_best": None}, "training.patience=2 needs training.keep_best, got None"),
        ({"evaluate_every": None}, "training.patience=2 needs training.evaluate_every, got None"),
        ({"patience": 0}, "patience must be at least 1, or None, got 0"),
    ],
)
def test_patience_without_values_to_count_is_refused(make, changes, said):
    with pytest.raises(SpecError, match=said):
        make([0.1] * 6, **changes)


def test_a_last_checkpoint_whose_evaluation_was_killed_can_still_be_the_best(make, project):
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    run.start(make(values), project / "r")
    place = project / "r"
    shutil.copytree(place / "checkpoints" / "step-00000012", place / "checkpoints" / "step-00000010")
    _renumber(place / "checkpoints" / "step-00000010", 10)  # as if it had been killed before the evaluation
    (place / "evaluations" / "found-00000012.json").unlink()
    run.resume(place)
    assert [one.step for one in all_complete(place / "checkpoints")] == [12]
    assert RunRecord.open(place).found["found/score"] == 0.6


def _renumber(folder, step) -> None:
    """Makes a checkpoint that of another step."""
    index = json.loads((folder / "checkpoint.json").read_text())
    index |= {"step": step, "digest": None}
    index["digest"] = fingerprint({name: value for name, value in index.items() if name != "digest"})
    (folder / "checkpoint.json").write_text(json.dumps(index))
