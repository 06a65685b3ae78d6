"""Run records: reading a run's folder, changing a finished run, and runs that ended without a record."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import attrs
import pytest
import torch

from didact import DidactError, RunError, run
from didact.experiment_file import load_experiment
from didact.machine.distributed import World
from didact.record import RunFolder, RunRecord
from didact.record.checkpoint import all_complete, read_tensors
from didact_ablate import close, find_runs
from didact_evaluate import Probe, RepresentationMetrics
from didact_vision import Images

IMAGES = Images(store="tiny", size=16)


@pytest.fixture
def experiment(project):
    """The tiny experiment, judged by a probe."""
    found, _ = load_experiment("tiny.py")
    probe = Probe(train=IMAGES, test=IMAGES, neighbours=3, controls=False)
    return attrs.evolve(found.evolve(**{"training.steps": 4}), evaluations={"probe": probe})


def events(folder) -> list[tuple[str, str | None]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [(event["event"], event.get("name")) for event in map(json.loads, lines)]


def test_a_record_says_what_ran_how_far_it_came_and_what_was_found(project, experiment):
    result = run.start(attrs.evolve(experiment, labels={"study": "layers", "seed": 0}), project / "r")
    record = RunRecord.open(project / "r")
    assert (record.state, record.step, record.steps) == ("finished", 4, 4)
    assert record.data["labels"] == {"study": "layers", "seed": 0}
    assert record.experiment == attrs.evolve(experiment, labels={"study": "layers", "seed": 0})
    assert record.found == {f"probe/{name}": value for name, value in result.reports["probe"].metrics.items()}
    assert record.evaluated
    assert [line["step"] for line in record.metrics] == [1, 2, 3, 4]
    assert [event["event"] for event in record.events] == ["started", *2 * ["checkpoint"], "evaluation", "finished"]
    assert [found.folder for found in find_runs(project)] == [project / "r"]


def test_what_a_run_trained_is_a_module_for_something_else(project, experiment):
    """Read back, it judges as it did in the run; student, teacher and earlier steps are told apart."""
    experiment = experiment.evolve(**{"training.checkpoint_every": 2, "training.keep_checkpoints": 2})
    result = run.start(experiment, project / "r")
    record = RunRecord.open(project / "r")
    student, teacher, earlier = record.network(), record.network("teacher"), record.network(step=2)
    written = read_tensors(max(all_complete(project / "r" / "checkpoints"), key=lambda checkpoint: checkpoint.step))
    for name, weight in student.state_dict().items():
        assert torch.equal(weight, written[f"network.{name}"]), name
    weights = [next(one.backbone.parameters()) for one in (student, teacher, earlier)]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(weights, 2))
    assert not student.training
    assert student.backbone.width == experiment.backbone.width
    about = {"finished": False, "device": torch.device("cpu"), "world": World()}
    state = SimpleNamespace(experiment=experiment, student=lambda: student, **about)
    judged = experiment.evaluations["probe"].evaluate(state)
    assert judged.metrics == result.reports["probe"].metrics


@pytest.mark.parametrize("step", [None, 7])
def test_a_network_of_a_checkpoint_that_is_not_there_is_told(project, experiment, step):
    run.start(experiment, project / "r")
    if step is None:
        shutil.rmtree(project / "r" / "checkpoints")
    with pytest.raises(RunError, match="no checkpoint yet" if step is None else "no checkpoint of step 7") as caught:
        RunRecord.open(project / "r").network(step=step)
    assert caught.value.hint


def test_a_run_that_is_over_is_asked_only_what_is_new(project, experiment, monkeypatch):
    run.start(experiment, project / "r")
    weights = sorted((project / "r").rglob("*.safetensors"))
    times = [path.stat().st_mtime_ns for path in weights]
    more = attrs.evolve(experiment, evaluations={**experiment.evaluations, "health": RepresentationMetrics(samples=4)})
    RunFolder.open(project / "r").amend(more)
    assert not RunRecord.open(project / "r").evaluated
    before = len(events(project / "r"))
    result = run.resume(project / "r")
    assert set(result.reports) == {"probe", "health"}
    assert events(project / "r")[before:] == [("started", None), ("evaluation", "health"), ("finished", None)]
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert RunRecord.open(project / "r").evaluated
    readme = (project / "r" / "README.md").read_text()
    assert "## probe" in readme
    assert "## health" in readme


def test_an_evaluation_that_changed_is_asked_again(project, experiment):
    run.start(experiment, project / "r")
    other = experiment.evolve(**{"evaluations.probe.neighbours": 1})
    RunFolder.open(project / "r").amend(other)
    assert RunRecord.open(project / "r").found == {}
    run.resume(project / "r")
    assert events(project / "r").count(("evaluation", "probe")) == 2


def test_a_run_is_not_amended_into_another(project, experiment):
    run.start(experiment, project / "r")
    with pytest.raises(RunError, match="trains something else"):
        RunFolder.open(project / "r").amend(experiment.evolve(**{"training.optimizer.learning_rate": 1.0}))


def test_a_folder_made_beforehand_is_run_by_resume(project, experiment, assert_equal_runs):
    run.start(experiment, project / "one")
    RunFolder.create(project / "two", experiment, source_file=project / "tiny.py", overrides={"x": "1"})
    assert RunRecord.open(project / "two").state == "new"
    assert run.resume(project / "two").outcome == "finished"
    assert_equal_runs(project / "one", project / "two")
    assert (project / "two" / "experiment.py").exists()
    with pytest.raises(RunError, match="a run in this folder already"):
        RunFolder.create(project / "two", experiment)


def test_a_resumed_run_keeps_the_commit_that_it_came_from(project, experiment):
    for command in (["init", "-q"], ["add", "tiny.py"], ["commit", "-qm", "it"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *command], cwd=project, check=True)
    RunFolder.create(project / "r", experiment, source_file=project / "tiny.py")
    commit = RunRecord.open(project / "r").environment["commit"]
    assert len(commit.removesuffix("-dirty")) == 40
    run.resume(project / "r")
    assert RunRecord.open(project / "r").environment["commit"] == commit
    assert RunRecord.open(project / "r").environment["processes"] == 1


KILLED = """
import os, sys
from pathlib import Path
from didact import hookimpl, run
class Killer:
    @hookimpl
    def step_finished(self, step):
        if step == 3:
            assert RunRecord.open(Path("r")).state == "running"
            os.kill(os.getpid(), 9)
from didact.experiment_file import load_experiment
from didact.record import RunRecord
run.start(load_experiment("tiny.py")[0], Path("r"), observers={"killer": Killer()})
"""


def test_a_killed_run_is_ended_once_and_goes_on(project, assert_equal_runs):
    assert subprocess.run([sys.executable, "-c", KILLED], cwd=project).returncode == -9
    assert RunRecord.open(project / "r").state == "killed"
    assert close(project / "r")
    assert not close(project / "r")
    assert events(project / "r")[-1] == ("killed", None)
    assert "killed at step 2 of 8" in (project / "r" / "README.md").read_text()  # the third was not recorded any more
    experiment, _ = load_experiment("tiny.py")
    assert run.resume(project / "r").outcome == "finished"
    assert not close(project / "r")
    run.start(experiment, project / "whole")
    assert_equal_runs(project / "whole", project / "r")


def test_what_is_no_run_is_told(project):
    with pytest.raises(DidactError, match="no run in "):
        RunRecord.open(project)
    assert find_runs(project) == []


def test_runs_are_found_while_what_they_keep_comes_and_goes(tmp_path, monkeypatch):
    for name in ("study/runs/a", "study/runs/a/bundles/step-00000003", "study/runs/b", "c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "experiment.json").write_text("{}")
    (tmp_path / "study" / "runs" / ".partial").mkdir()
    listed = os.scandir

    def vanishing(path):
        if str(path).endswith(".partial"):
            raise FileNotFoundError(path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert [run.folder.name for run in find_runs(tmp_path)] == ["c", "a", "b"]
