"""Runs that start from the weights of another run."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import attrs
import pytest
import torch

from didact import Experiment, Network, Pretrained, RunError, RunState, SpecError, build_learner, run
from didact.building import build_network
from didact.experiment import continues
from didact.experiment_file import load_experiment
from didact.plugins import registry
from didact.record import RunFolder, RunRecord, checkpoint
from didact.record.folder import read_metrics
from didact.record.pretrained import find_origin
from didact_ablate.identity import identity
from didact_doctor.recording import lost_as_data
from didact_evaluate import Probe
from didact_vision import Images


@pytest.fixture
def experiment(project) -> Experiment:
    """The tiny experiment, which keeps all its checkpoints."""
    loaded, _ = load_experiment("tiny.py")
    return loaded.evolve(**{"training.keep_checkpoints": 9})


@pytest.fixture
def first(project, experiment) -> Path:
    """The folder of a run of it: checkpoints of steps 3, 6 and 8."""
    return run.start(experiment, project / "first").folder


@pytest.fixture
def second(experiment) -> Experiment:
    """What goes on from the newest weights of that run, in another way, and keeps a checkpoint of step 0."""
    changes = {"training.seed": 7, "training.optimizer.learning_rate": 3e-4, "training.nonfinite": "rollback"}
    return experiment.evolve(**changes, weights=Pretrained(run="first"))


def stored_at(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return checkpoint.read_tensors(checkpoint.read(folder / "checkpoints" / f"step-{step:08d}"))


def losses(folder: Path) -> list[float]:
    return [metrics["train/loss"] for metrics in read_metrics(folder)]


def assert_begins_as(stored: dict[str, torch.Tensor], prefix: str, network: Network) -> None:
    for name, tensor in network.state_dict().items():
        assert torch.equal(stored[f"{prefix}.{name}"], tensor), name


@pytest.mark.parametrize("which", ["student", "teacher"])
@pytest.mark.parametrize("step", [None, 3])
def test_student_and_teacher_begin_as_the_network_that_was_chosen(project, first, second, which, step):
    run.start(second.evolve(**{"weights.network": which, "weights.step": step}), project / "second")
    stored, network = stored_at(project / "second", 0), RunRecord.open(first).network(which, step=step)
    assert_begins_as(stored, "network", network)
    assert_begins_as(stored, "targets.teacher", network)
    head = {name: tensor for name, tensor in stored.items() if name.startswith("objective.")}
    fresh = build_learner(second).state_dict()
    assert head
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in head.items())


def test_a_run_tells_what_it_began_with(project, first, experiment, didact):
    result = didact("run", "tiny.py", "--out", "second", "--set", 'weights={"run": "first", "network": "student"}')
    assert result.returncode == 0, result.stderr
    folder = project / "second"
    digest = checkpoint.fingerprint_of(checkpoint.read(first / "checkpoints" / "step-00000008"))
    began = {"run": "first", "step": 8, "network": "student", "digest": digest}
    assert json.loads((folder / "environment.json").read_text())["weights"] == began
    assert json.loads((folder / "experiment.json").read_text())["weights"] == {
        "run": "first",
        "step": None,
        "network": "student",
    }
    assert "It started from the student of step 8 of `first`." in (folder / "README.md").read_text()
    assert "It started from" not in (first / "README.md").read_text()
    assert json.loads((first / "environment.json").read_text())["weights"] is None


def test_the_random_control_stays_random(project, first, experiment, second):
    fresh = build_network(experiment).state_dict()
    again = attrs.evolve(experiment, weights=second.weights)
    learner = build_learner(again, find_origin(again.weights).load())
    state = RunState(again, learner, partial(build_network, again), torch.device("cpu"), torch.float32, 0, False)
    control, student = state.untrained().state_dict(), state.student().state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in control.items())
    assert any(not torch.equal(tensor, fresh[name]) for name, tensor in student.items())

    images = Images(store="tiny", size=16)
    probe = Probe(train=images, test=images)
    for name, one in (("alone", experiment), ("pretrained", again)):
        run.start(attrs.evolve(one, evaluations={"probe": probe}), project / name)
    found = [RunRecord.open(project / name).found for name in ("alone", "pretrained")]
    controls = [{name: value for name, value in each.items() if "random" in name} for each in found]
    assert controls[0]
    assert controls[0] == controls[1]


def test_a_run_goes_on_without_the_run_that_it_began_from(
    project, first, second, assert_equal_runs, didact, stop_after
):
    run.start(second, project / "whole")
    run.start(second, project / "stopped", observers={"stopper": stop_after(4)})
    began = json.loads((project / "stopped" / "environment.json").read_text())["weights"]
    shutil.rmtree(first)
    resumed = didact("resume", "stopped")
    assert resumed.returncode == 0, resumed.stderr
    assert_equal_runs(project / "whole", project / "stopped")
    assert json.loads((project / "stopped" / "environment.json").read_text())["weights"] == began
    RunRecord.open(project / "stopped").network("teacher")
    RunFolder.open(project / "stopped").amend(attrs.evolve(second, labels={"why": "none"}))
    assert run.resume(project / "stopped").outcome == "finished"


def test_a_run_without_a_checkpoint_begins_again_with_what_it_began_with(project, experiment, second, stop_after):
    run.start(experiment, project / "first", observers={"stopper": stop_after(4)})
    run.start(second, project / "second")
    before = losses(project / "second")
    run.resume(project / "first")  # it has newer ones now
    for name in ("checkpoints", "metrics.jsonl"):  # as if it had been killed at once
        path = project / "second" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run.resume(project / "second")
    assert losses(project / "second") == before
    shutil.rmtree(project / "second" / "checkpoints")
    shutil.rmtree(project / "first" / "checkpoints" / "step-00000004")
    with pytest.raises(RunError, match="no checkpoint of step 4") as caught:
        run.resume(project / "second")
    assert caught.value.where == "weights.run"


def test_what_was_created_begins_with_the_weights_when_it_is_resumed(project, first, second):
    run.start(second, project / "at once")
    RunFolder.create(project / "created", second)
    run.resume(project / "created")
    assert losses(project / "created") == losses(project / "at once")


def test_a_damaged_checkpoint_is_passed_over_and_left_as_it_is(first, second):
    newest = first / "checkpoints" / "step-00000008"
    file = next((newest / "learner").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    assert find_origin(second.weights).step == 6
    assert newest.exists()
    with pytest.raises(RunError, match="step-00000008 is damaged") as caught:
        find_origin(attrs.evolve(second.weights, step=8))
    assert caught.value.where.startswith("weights.run, ")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"backbone.depth": 3}, r"backbone\.blocks\.2\.\S+ \(.+\) is missing in the run; .+ more"),
        ({"backbone.depth": 1}, r"backbone\.blocks\.1\.\S+ \(.+\) is in the run alone; "),
        ({"encoder.patch": 2}, r"encoder\.\S+ is \(.*\) in the run and \(.*\) here"),
    ],
)
def test_weights_of_another_network_are_refused_by_name_and_shape(project, first, second, changes, told):
    changes = {"targets.k": 1, **changes} if "backbone.depth" in changes else changes
    with pytest.raises(SpecError, match=told) as caught:
        run.start(second.evolve(**changes), project / "second")
    assert caught.value.where == "weights.run"
    assert "experiment.json" in caught.value.hint
    assert not (project / "second").exists()


def test_weights_that_read_other_ids_are_refused(experiment):
    network = build_network(experiment)
    other = Network(network.encoder, network.backbone, attrs.evolve(network.signal, coding="bytes"), network.layout)
    with pytest.raises(SpecError, match="were trained on bytes, and the source gives None") as caught:
        build_learner(experiment, other)
    assert caught.value.where == "weights.run"


def test_a_run_a_checkpoint_or_a_step_that_is_not_there_is_told(project, first, second, didact):
    RunFolder.create(project / "empty", second)
    refused = [
        ('{"run": "nowhere"}', "there is no run in nowhere", "weights.run"),
        ('{"run": "empty"}', "the run in empty has no checkpoint", "weights.run"),
        ('{"run": "first", "step": 5}', "first has no checkpoint of step 5", "weights.step"),
    ]
    for weights, told, where in refused:
        for words in (("run", "--out", "second"), ("doctor", "--quick")):
            result = didact(words[0], "tiny.py", *words[1:], "--set", f"weights={weights}")
            assert result.returncode == 1
            assert told in result.stdout + result.stderr
            assert where in result.stdout + result.stderr
        assert not (project / "second").exists()
    assert "use one of 3, 6, 8" in result.stdout + result.stderr
    result = didact("doctor", "tiny.py", "--quick", "--set", 'weights={"run": "first"}')
    assert result.returncode == 0, result.stdout
    assert "training starts from the teacher of step 8 of first, checkpoint " in result.stdout
    assert "random initialisation" not in result.stdout


def test_weights_are_part_of_what_is_trained(experiment, second):
    pretrained = attrs.evolve(experiment, weights=second.weights)
    others = [pretrained.evolve(**{field: value}) for field, value in (("weights.step", 3), ("weights.run", "other"))]
    data_of = registry().data_of
    assert len({identity(data_of(one)) for one in (experiment, pretrained, *others)}) == 4
    assert not continues(data_of(experiment), data_of(pretrained))
    assert lost_as_data(pretrained) is None


def test_weights_say_what_they_cannot_be():
    with pytest.raises(SpecError, match=r"Pretrained\.step must be at least 0, or None, got -1"):
        Pretrained(run="first", step=-1)
    with pytest.raises(SpecError, match=r"Pretrained\.run must be the folder of a run, got ''"):
        Pretrained(run="")
