"""Starting, stopping and resuming runs from the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import attrs
import pytest
import torch

from didact import DidactError, Learner, Observer, Report, RunError, hookimpl, run
from didact.experiment_file import load_experiment
from didact.record import RunRecord
from didact.record.checkpoint import all_complete
from didact.record.folder import read_metrics
from didact_distill import LatentRegression, LinearHead
from didact_evaluate import RepresentationMetrics
from didact_stores import Record
from didact_stores.ingest import write_store
from didact_stores.store import Store
from didact_vision import RandomMasker


def test_a_run_leaves_a_folder_that_explains_it(project, didact):
    result = didact("run", "tiny.py", "--out", "r", "--set", "training.steps=4")
    assert result.returncode == 0, result.stderr
    assert "finished" in result.stdout
    folder = project / "r"
    assert json.loads((folder / "experiment.json").read_text())["training"]["steps"] == 4
    assert json.loads((folder / "overrides.json").read_text()) == {"training.steps": "4"}
    assert (folder / "experiment.py").read_text() == (project / "tiny.py").read_text()
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["plugins"]["vision"].startswith("didact-vision")
    assert len(environment["data"]["source"]) == 64
    assert [metrics["step"] for metrics in read_metrics(folder)] == [1, 2, 3, 4]
    assert "finished at step 4 of 4" in (folder / "README.md").read_text()


def test_smoke_takes_two_steps(project, didact):
    result = didact("run", "tiny.py", "--smoke", "--out", "r")
    assert result.returncode == 0, result.stderr
    assert [metrics["step"] for metrics in read_metrics(project / "r")] == [1, 2]


@pytest.mark.parametrize("steps", [3, 6])
def test_a_teachers_course_over_the_whole_run_follows_the_runs_steps(project, didact, steps):
    settings = (f"training.steps={steps}", "targets.teacher.anneal_steps=None")
    result = didact("run", "tiny.py", "--out", "r", *(word for setting in settings for word in ("--set", setting)))
    assert result.returncode == 0, result.stderr
    teacher = RunRecord.open(project / "r").experiment.targets.teacher
    assert teacher.anneal_steps is None
    decays = [metrics["teacher/decay"] for metrics in read_metrics(project / "r")]
    rise = (teacher.end - teacher.start) / steps
    assert decays == pytest.approx([teacher.start + rise * step for step in range(1, steps + 1)])


def test_a_stopped_and_resumed_run_is_the_run_left_alone(project, assert_equal_runs, stop_after):
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment, project / "whole")
    for stop_at in (2, 5):
        folder = project / f"stopped-{stop_at}"
        stopped = run.start(experiment, folder, observers={"stopper": stop_after(stop_at)})
        assert (stopped.outcome, stopped.step) == ("stopped", stop_at)
        assert run.resume(folder).outcome == "finished"
        assert_equal_runs(project / "whole", folder)


def test_an_evaluation_that_a_stop_came_before_is_made_up_for(project, stop_after):
    experiment, _ = load_experiment("tiny.py")
    experiment = attrs.evolve(experiment, evaluations={"health": RepresentationMetrics(samples=8)})
    experiment = experiment.evolve(**{"training.evaluate_every": 4})
    run.start(experiment, project / "whole")
    run.start(experiment, project / "stopped", observers={"stopper": stop_after(4)})
    found = [path.name for path in (project / "stopped" / "evaluations").glob("*.json")]
    assert found == []
    run.resume(project / "stopped")
    ends = [
        {path.name: json.loads(path.read_text())["metrics"] for path in (project / name / "evaluations").glob("*.json")}
        for name in ("whole", "stopped")
    ]
    assert ends[0].keys() == {"health-00000004.json", "health-00000008.json"}
    assert ends[0] == ends[1]


def test_an_evaluation_that_fails_costs_nothing_that_was_trained(project, monkeypatch):
    experiment, _ = load_experiment("tiny.py")
    experiment = attrs.evolve(
        experiment, evaluations={"health": RepresentationMetrics(samples=8), "fails": RepresentationMetrics(samples=4)}
    )
    experiment = experiment.evolve(**{"training.steps": 4, "training.evaluate_every": 2})
    judge, failing = RepresentationMetrics.evaluate, {2, 4}

    def evaluate(self, state):
        if self.samples == 4 and state.step in failing:
            raise ZeroDivisionError("the probe found no sample")
        return judge(self, state)

    monkeypatch.setattr(RepresentationMetrics, "evaluate", evaluate)
    with pytest.raises(RunError, match="training is complete, but not evaluated: 'fails' failed") as caught:
        run.start(experiment, project / "r")
    assert "didact resume" in caught.value.hint
    events = [json.loads(line) for line in (project / "r" / "events.jsonl").read_text().splitlines()]
    told = [event for event in events if "failed after" in event.get("text", "")]
    assert [event["step"] for event in told] == [2, 4]
    assert "'fails' failed after step 2: ZeroDivisionError: the probe found no sample" in told[0]["text"]
    assert "in evaluate" in told[0]["details"]
    assert {path.name for path in (project / "r" / "evaluations").glob("*.json")} == {
        "health-00000002.json",
        "health-00000004.json",
    }
    failing.clear()
    assert run.resume(project / "r").outcome == "finished"
    assert (project / "r" / "evaluations" / "fails-00000004.json").exists()
    assert len(read_metrics(project / "r")) == 4  # no step was taken twice


def test_a_step_that_does_not_fit_into_memory_ends_the_run_with_a_checkpoint(project):
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment, project / "whole")
    forward, calls = Learner.forward, []

    def run_out(learner, batch, num_targets):
        calls.append(len(batch.ids))
        if torch.is_grad_enabled() and sum(count == 6 for count in calls) == 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(learner, batch, num_targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "forward", run_out)
        with pytest.raises(RunError) as caught:
            run.start(experiment, project / "short")
    assert caught.value.what.startswith("step 6 does not fit into memory: CUDA out of memory")
    assert "resume with --set training.gradient_accumulation_steps=2" in caught.value.hint
    assert "resumes from step 5" in caught.value.hint
    run.resume(project / "short", overrides={"training.gradient_accumulation_steps": "2", "training.nonfinite": "skip"})
    whole, short = ([line["train/loss"] for line in read_metrics(project / name)] for name in ("whole", "short"))
    assert len(short) == len(whole) == 8
    assert short[:5] == whole[:5]  # then dropout is drawn for each part by itself
    record = RunRecord.open(project / "short")
    assert (record.experiment.training.gradient_accumulation_steps, record.experiment.training.nonfinite) == (2, "skip")
    assert "`training.gradient_accumulation_steps = 2`" in (project / "short" / "README.md").read_text()


@pytest.mark.parametrize("setting", ["training.optimizer.learning_rate=0.1", "masker.ratio=0.4", "training.steps=9"])
def test_a_run_that_has_begun_is_not_changed_into_another(project, didact, setting, stop_after):
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment, project / "r", observers={"stopper": stop_after(2)})
    before = (project / "r" / "experiment.json").read_text()
    refused = didact("resume", "r", "--set", setting)
    assert refused.returncode == 1
    assert "trains something else" in refused.stderr
    assert (project / "r" / "experiment.json").read_text() == before
    assert RunRecord.open(project / "r").step == 2


def test_a_run_is_not_gone_on_with_on_other_data(project, stores, didact, monkeypatch, stop_after):
    shutil.copytree(stores / "tiny", project / "stores" / "tiny")
    monkeypatch.setenv("DIDACT_STORES", str(project / "stores"))
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment, project / "r", observers={"stopper": stop_after(3)})
    recorded = (project / "r" / "environment.json").read_text()
    shutil.rmtree(project / "stores" / "tiny")
    records = [Store.open(str(stores / "tiny")).get(index) for index in range(19)]
    again = [Record(data=r.data, length=r.length, name=r.name, fields=r.fields) for r in records]
    write_store(project / "stores" / "tiny", "images", "images", again)
    refused = didact("resume", "r")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: the source's samples are not those that the run began with")
    assert (project / "r" / "environment.json").read_text() == recorded
    shutil.rmtree(project / "stores" / "tiny")
    shutil.copytree(stores / "tiny", project / "stores" / "tiny")
    assert run.resume(project / "r").outcome == "finished"


def test_a_run_whose_record_was_changed_by_hand_is_not_gone_on_with(project, didact, stop_after):
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment, project / "r", observers={"stopper": stop_after(3)})
    file = project / "r" / "experiment.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps({**before, "training": {**before["training"], "layer_decay": 0.5}}))
    refused = didact("resume", "r")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: the run's experiment.json trains something else")
    file.write_text("{")
    refused = didact("resume", "r")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: the run's experiment cannot be read")
    file.write_text(json.dumps({**before, "training": {**before["training"], "nonfinite": "skip"}}))
    assert run.resume(project / "r").outcome == "finished"


def test_a_run_outlives_whoever_reads_its_output(project):
    command = [sys.executable, "-m", "didact", "run", "tiny.py", "--out", "r", "--set", "training.log_every=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert [line["step"] for line in read_metrics(project / "r")] == list(range(1, 9))
    assert RunRecord.open(project / "r").state == "finished", errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(("named", "hint"), [("notes.md", "ends in .py"), (".", "tiny.py")])
def test_what_is_no_experiment_file_is_told(project, didact, named, hint):
    (project / "notes.md").write_text("# Notes")
    refused = didact("run", named)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert hint in refused.stderr


def test_a_smoke_run_keeps_no_checkpoints_whatever_the_experiment_keeps(project, didact):
    result = didact("run", "tiny.py", "--smoke", "--out", "r", "--set", "training.keep_every=3")
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(project, begin, didact, assert_equal_runs):
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment.evolve(**{"training.steps": 60}), project / "whole")
    folder = project / "killed"
    process = begin("run", "tiny.py", "--out", folder, "--set", "training.steps=60")
    process.until(lambda: any((folder / "checkpoints").glob("step-*")))
    process.kill()
    process.wait()
    resumed = didact("resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    assert_equal_runs(project / "whole", folder)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(project, assert_equal_runs):
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment, project / "none")
    run.start(experiment.evolve(**{"training.num_workers": 2}), project / "two")
    assert_equal_runs(project / "none", project / "two")


def test_micro_batches_change_nothing_beyond_rounding(project):
    experiment, _ = load_experiment("tiny.py")
    # nothing is drawn for a whole micro-batch here: no dropout, and a head instead of a decoder with its noise
    hidden = RandomMasker(ratio=0.5, masks=2, corruption="hide")
    objective = LatentRegression(head=LinearHead())
    experiment = attrs.evolve(experiment, masker=hidden, objective=objective)
    experiment = experiment.evolve(**{"backbone.dropout": 0.0, "encoder.mask_token": True, "training.steps": 3})
    run.start(experiment, project / "one")
    run.start(experiment.evolve(**{"training.gradient_accumulation_steps": 4}), project / "four")
    one, four = (read_metrics(project / name) for name in ("one", "four"))
    for name in ("train/loss", "train/gradient_norm"):
        assert [m[name] for m in one] == pytest.approx([m[name] for m in four], rel=1e-4)


def test_the_seed_changes_the_curve(project, curve):
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment, project / "zero")
    run.start(experiment.evolve(**{"training.seed": 1}), project / "one")
    assert curve(project / "zero") != curve(project / "one")


def test_a_second_process_in_the_same_folder_is_refused(project):
    experiment, _ = load_experiment("tiny.py")
    refused = []

    class Intruder:
        @hookimpl
        def step_finished(self, step: int) -> None:
            if step == 2:
                with pytest.raises(RunError, match="another process is running"):
                    run.resume(project / "r")
                refused.append(step)

    run.start(experiment, project / "r", observers={"intruder": Intruder()})
    assert refused == [2]


def test_a_new_run_never_overwrites_another(project):
    experiment, _ = load_experiment("tiny.py")
    experiment = experiment.evolve(**{"training.steps": 1})
    run.start(experiment, project / "r")
    with pytest.raises(RunError, match="there is a run in this folder already"):
        run.start(experiment, project / "r")


@attrs.frozen(kw_only=True)
class Broken(Observer):
    """An observer that fails at the second step."""

    def build(self) -> object:
        class Failing:
            @hookimpl
            def step_finished(self, step: int) -> None:
                if step == 2:
                    raise ZeroDivisionError("observers fail")

        return Failing()


def test_an_observer_that_fails_is_switched_off_and_the_training_goes_on(project):
    experiment, _ = load_experiment("tiny.py")
    told = []

    class Witness:
        @hookimpl
        def step_finished(self, step: int) -> None:
            told.append(step)

    broken = Broken().build()
    result = run.start(experiment, project / "r", observers={"broken": broken, "witness": Witness()})
    assert result.outcome == "finished"
    assert told == list(range(1, 9))
    warning = result.warnings[-1]  # after those that the run begins with
    assert "'broken' failed in step_finished" in warning
    assert "observers fail" in warning


def test_a_missing_plugin_is_named_when_a_run_is_resumed(project, stop_after):
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment, project / "r", observers={"stopper": stop_after(4)})
    path = project / "r" / "experiment.json"
    path.write_text(path.read_text().replace("vision/patches", "sonar/pings"))
    with pytest.raises(DidactError, match=r"sonar/pings comes from the plugin 'sonar', which is not installed"):
        run.resume(project / "r")


def test_checkpoints_are_kept_by_number_by_interval_and_by_metric(project):
    experiment, _ = load_experiment("tiny.py")
    kept = {"training.checkpoint_every": 1, "training.keep_checkpoints": 1, "training.keep_every": 4}
    run.start(experiment.evolve(**kept | {"training.keep_best": "train/learning_rate"}), project / "r")
    rates = {int(metrics["step"]): metrics["train/learning_rate"] for metrics in read_metrics(project / "r")}
    best = max(rates, key=lambda step: (rates[step], step))
    assert best not in (4, 8)  # the rule has something to keep besides
    steps = {int(path.name.removeprefix("step-")) for path in (project / "r" / "checkpoints").iterdir()}
    assert steps == {4, 8, best}


@pytest.mark.parametrize(("values", "best"), [({2: 0.1, 4: 0.9}, 4), ({2: 0.9, 4: 0.1}, 2)])
def test_the_last_evaluation_may_choose_the_last_checkpoint_as_the_best(project, monkeypatch, values, best):
    experiment, _ = load_experiment("tiny.py")
    monkeypatch.setattr(
        RepresentationMetrics, "evaluate", lambda _, state: Report(metrics={"score": values[state.step]})
    )
    changes = {
        "steps": 4,
        "evaluate_every": 2,
        "checkpoint_every": 2,
        "keep_checkpoints": 1,
        "keep_best": "found/score",
    }
    experiment = attrs.evolve(experiment, evaluations={"found": RepresentationMetrics(samples=4)})
    run.start(experiment.evolve(**{f"training.{name}": value for name, value in changes.items()}), project / "r")
    assert {one.step for one in all_complete(project / "r" / "checkpoints")} == {best, 4}


def test_a_checkpoint_stays_until_its_successor_is_in_place(project, monkeypatch, stop_after, assert_equal_runs):
    """A process that is killed between the two renames leaves the one before under another name."""
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment, project / "whole")
    run.start(experiment, project / "r", observers={"stopper": stop_after(4)})
    folder = project / "r" / "checkpoints" / "step-00000004"
    folder.rename(folder.with_name(".replaced-step-00000004"))
    run.resume(project / "r")
    assert_equal_runs(project / "whole", project / "r")
    assert not list((project / "r" / "checkpoints").glob(".replaced-*"))
