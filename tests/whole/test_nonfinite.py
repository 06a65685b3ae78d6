"""A loss or gradient that is not finite is explained and saved for a replay; the experiment sets the reaction."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import torch
from safetensors.torch import load_file

from didact import RunError, SpecError, hookimpl, run
from didact.loop.trainer import Trainer
from didact.record.folder import decided_by_the_seed, read_metrics
from didact_doctor.bundle import read_bundle

FAULTS = {
    "nan": ("exp", "the loss", "the content of view 0, as the source gives it, (4, 3, 12): 1 nan of 144 values"),
    "huge": ("exp", "the loss", "the output of network.encoder.curve (4, 12, 8): 96 inf of 384 values"),
    "zero": ("root", "the gradient", "the gradient at the output of network.encoder.projection"),
}


class StopAt:
    """Sends this process a signal after a step, as a scheduler would."""

    def __init__(self, step: int) -> None:
        self.step = step

    @hookimpl
    def step_finished(self, step: int) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def steps_with(sample: int, experiment) -> list[int]:
    """The numbers of the steps, from 1, whose batch holds a sample."""
    from didact.batching import BatchPlan

    training = experiment.training
    plan = BatchPlan(experiment.source.open().lengths, training.batch, training.seed)
    return [step + 1 for step in range(training.steps) if sample in plan.batch(step).samples]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = max((folder / "checkpoints").glob("step-*"))
    return {name: tensor for file in newest.rglob("*.safetensors") for name, tensor in load_file(file).items()}


def assert_equal_weights(first: Path, second: Path) -> None:
    mine, theirs = weights(first), weights(second)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def warnings_of(result) -> list[str]:
    """The warnings about steps that are not finite."""
    return [text for text in result.warnings if "finite" in text or "skipped_steps" in text]


def plain(folder: Path) -> list[dict[str, float]]:
    """The metrics that the seed determines; NaN equals itself here."""
    return [
        {name: "nan" if math.isnan(value) else value for name, value in decided_by_the_seed(metrics).items()}
        for metrics in read_metrics(folder)
    ]


# ── naming ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_bad_tensor_and_its_sample_are_named(faulty, tmp_path, fault):
    curve, kind, tensor = FAULTS[fault]
    experiment = faulty(fault, (8,), curve)
    first = steps_with(8, experiment)[0]
    with pytest.raises(RunError) as caught:
        run.start(experiment, tmp_path / "r")
    error = caught.value
    assert error.what.startswith(f"{kind} of step {first} is not finite")
    assert f"first in {tensor}" in error.where
    bundle = tmp_path / "r" / "bundles" / f"step-{first:08d}"
    assert error.where.endswith(f"; in samples 8 (walk 8) of the source; `didact replay {bundle}` runs the step again")


def test_without_a_doctor_the_terms_and_the_samples_of_the_batch_are_named(faulty, tmp_path):
    experiment = attrs.evolve(faulty("huge", (8,)), observers=())
    first = steps_with(8, experiment)[0]
    with pytest.raises(RunError) as caught:
        run.start(experiment, tmp_path / "r")
    assert caught.value.what == f"the loss of step {first} is not finite (regression nan)"
    assert caught.value.where.startswith("samples ")
    assert "8 (walk 8)" in caught.value.where
    assert caught.value.where.count("(walk ") == 4
    assert not (tmp_path / "r" / "bundles").exists()


def test_a_doctor_that_fails_hides_nothing(faulty, tmp_path, monkeypatch):
    def fail(failure, world):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("didact_doctor.observer.explain", fail)
    result = run.start(faulty("huge", (8,), nonfinite="skip"), tmp_path / "r")
    assert result.outcome == "finished"
    assert "(walk 8)" in warnings_of(result)[0]
    assert [text.startswith("the observer 'Doctor-0") for text in result.warnings].count(True) == 1
    assert any("failed in step_failed and is switched off: ZeroDivisionError: oh" in text for text in result.warnings)


def test_a_bad_sample_is_found_in_any_part_of_a_batch(faulty, tmp_path):
    with pytest.raises(RunError) as caught:
        run.start(faulty("huge", (8,), gradient_accumulation_steps=2), tmp_path / "r")
    assert "the output of network.encoder.curve (2, 12, 8): 96 inf of 192 values" in caught.value.where
    assert "; in samples 8 (walk 8) of the source; `didact replay " in caught.value.where


def test_an_infinite_loss_is_found_although_its_gradient_is_finite(faulty, tmp_path, monkeypatch):
    taken = []

    def infinite(self, batch, passes, targets):
        loss = original(self, batch, passes, targets)
        taken.append(1)
        if len(taken) in (4, 5):  # the rehearsal is the first; then once in the step and once where it is examined
            loss.terms["regression"] = loss.terms["regression"] + torch.tensor(float("inf"))
        return loss

    from didact_distill.regression import LatentRegressionModule

    original = LatentRegressionModule.forward
    monkeypatch.setattr(LatentRegressionModule, "forward", infinite)
    with pytest.raises(RunError, match=r"the loss of step 3 is not finite \(regression inf\)") as caught:
        run.start(faulty("nan", ()), tmp_path / "r")
    assert "first in terms.regression in the output of objective (): 1 inf of 1 values" in caught.value.where


# ── stop ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stop_leaves_a_checkpoint_of_the_step_before(faulty, tmp_path):
    experiment = faulty("nan", (8,))
    first = steps_with(8, experiment)[0]
    assert first > 1
    with pytest.raises(RunError) as caught:
        run.start(experiment, tmp_path / "r")
    assert f"`didact resume {tmp_path / 'r'}` resumes from step {first - 1}" in caught.value.hint
    assert [metrics["step"] for metrics in read_metrics(tmp_path / "r")] == list(range(1, first))
    sane = faulty("nan", ())
    run.start(sane, tmp_path / "sane", observers={"stopper": StopAt(first - 1)})
    assert_equal_weights(tmp_path / "r", tmp_path / "sane")


# ── skip ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("curve", ["exp", "norm"])
def test_skip_leaves_the_step_out_and_counts_it(faulty, tmp_path, curve):
    experiment = faulty("nan", (8,), curve, nonfinite="skip")
    bad = steps_with(8, experiment)
    assert len(bad) == 2
    result = run.start(experiment, tmp_path / "r")
    assert result.outcome == "finished"
    metrics = read_metrics(tmp_path / "r")
    assert [m["step"] for m in metrics if not math.isfinite(m["train/loss"])] == bad
    assert [m["train/skipped_steps"] for m in metrics] == [sum(b <= step for b in bad) for step in range(1, 9)]
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "r").values())  # running statistics too
    assert [warning.count("it is left out") for warning in warnings_of(result)] == [1, 1]
    assert "in samples 8 (walk 8) of the source" in warnings_of(result)[0]
    assert json.loads((tmp_path / "r" / "left-out.json").read_text())["steps"] == bad


def test_a_skipped_step_changes_nothing(faulty, tmp_path):
    experiment = faulty("nan", (8,), "norm", nonfinite="skip")
    bad = steps_with(8, experiment)[0]
    for stop in (bad - 1, bad):
        run.start(experiment, tmp_path / str(stop), observers={"stopper": StopAt(stop)})
    before, after = weights(tmp_path / str(bad - 1)), weights(tmp_path / str(bad))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_skips_and_is_resumed_equals_an_uninterrupted_one(faulty, tmp_path):
    experiment = faulty("nan", (8,), nonfinite="skip")
    run.start(experiment, tmp_path / "whole")
    bad = steps_with(8, experiment)[0]
    for stop in (bad - 1, bad, bad + 1):
        folder = tmp_path / f"stopped-{stop}"
        assert run.start(experiment, folder, observers={"stopper": StopAt(stop)}).outcome == "stopped"
        assert run.resume(folder).outcome == "finished"
        assert plain(folder) == plain(tmp_path / "whole")
        assert_equal_weights(folder, tmp_path / "whole")


def test_skip_ends_the_run_where_no_later_step_can_be_finite(faulty, tmp_path, spoil):
    spoil(after=4, times=1)
    with pytest.raises(RunError, match=r"step 5 is not finite .* and no later step will be") as caught:
        run.start(faulty("nan", (), nonfinite="skip"), tmp_path / "r")
    assert "the weight network.backbone.blocks.0.weight is not finite itself" in caught.value.what
    assert "training.nonfinite=rollback" in caught.value.hint
    assert "didact resume" not in caught.value.hint  # there is nothing worth going on with
    assert [path.name for path in (tmp_path / "r" / "checkpoints").iterdir()] == ["step-00000003"]


def test_at_most_three_bundles_are_kept(faulty, tmp_path):
    experiment = faulty("nan", tuple(range(16)), nonfinite="skip", nonfinite_limit=100)
    result = run.start(experiment, tmp_path / "r")
    assert result.outcome == "finished"
    kept = sorted(path.name for path in (tmp_path / "r" / "bundles").iterdir())
    assert kept == ["step-00000001", "step-00000002", "step-00000003"]
    assert len(warnings_of(result)) == 3
    assert warnings_of(result)[-1].endswith("later ones are counted in train/skipped_steps alone")
    assert read_metrics(tmp_path / "r")[-1]["train/skipped_steps"] == 8


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_more_in_a_row_than_the_limit_end_the_run(faulty, tmp_path, policy):
    with pytest.raises(RunError, match=r"step 4 is not finite .* 4 steps in a row are not") as caught:
        run.start(faulty("nan", tuple(range(16)), nonfinite=policy, nonfinite_limit=3), tmp_path / "r")
    assert "training.nonfinite_limit is 3" in caught.value.what


# ── rollback ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def spoil(monkeypatch):
    """Has a weight turn infinite after a step, as a fault of the memory may, so many times."""

    def arrange(after: int, times: int) -> None:
        original, left = Trainer.take_step, [times]

        def take_step(self, batch, **settings):
            scalars = original(self, batch, **settings)
            if self.step == after and left[0]:
                left[0] -= 1
                with torch.no_grad():
                    self.learner.network.backbone.blocks[0].weight[1, 2] = float("inf")
            return scalars

        monkeypatch.setattr(Trainer, "take_step", take_step)

    return arrange


def test_rollback_goes_back_and_leaves_the_batch_out(faulty, tmp_path):
    experiment = faulty("nan", (8,), nonfinite="rollback")
    bad = steps_with(8, experiment)
    result = run.start(experiment, tmp_path / "r")
    assert result.outcome == "finished"
    assert [m["step"] for m in read_metrics(tmp_path / "r")] == [step for step in range(1, 9) if step not in bad]
    events = [json.loads(line) for line in (tmp_path / "r" / "events.jsonl").read_text().splitlines()]
    went = [event["step"] for event in events if event["event"] == "rolled back"]
    assert went == [3 * ((step - 1) // 3) for step in bad]  # the last checkpoint before
    assert read_metrics(tmp_path / "r")[-1]["train/skipped_steps"] == sum(step <= 8 for step in bad if step < 8)
    # all else being as it was, the weights are those of a run that skipped the same steps
    run.start(faulty("nan", (8,), nonfinite="skip"), tmp_path / "skipped")
    assert_equal_weights(tmp_path / "r", tmp_path / "skipped")


def test_a_run_that_rolled_back_and_is_resumed_equals_an_uninterrupted_one(faulty, tmp_path):
    experiment = faulty("nan", (8,), nonfinite="rollback")
    run.start(experiment, tmp_path / "whole")
    bad = steps_with(8, experiment)
    around = {step for b in bad for step in (b - 1, b + 1)} - set(bad)
    for stop in sorted(around & set(range(1, 8))):
        folder = tmp_path / f"stopped-{stop}"
        assert run.start(experiment, folder, observers={"stopper": StopAt(stop)}).outcome == "stopped"
        assert run.resume(folder).outcome == "finished"
        assert plain(folder) == plain(tmp_path / "whole")
        assert_equal_weights(folder, tmp_path / "whole")


def test_rollback_repairs_what_skip_cannot(faulty, tmp_path, spoil):
    spoil(after=4, times=1)
    result = run.start(faulty("nan", (), nonfinite="rollback"), tmp_path / "r")
    assert result.outcome == "finished"
    (warning,) = warnings_of(result)
    assert "first in the weight network.backbone.blocks.0.weight (8, 8): 1 inf of 64 values" in warning
    assert "goes back to its last checkpoint and leaves step 4 out" in warning
    assert [m["step"] for m in read_metrics(tmp_path / "r")] == [1, 2, 3, 5, 6, 7, 8]
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "r").values())


def test_a_rollback_ignores_a_checkpoint_of_spoilt_weights(faulty, tmp_path, spoil):
    spoil(after=6, times=1)
    result = run.start(faulty("nan", (), nonfinite="rollback"), tmp_path / "r")
    assert result.outcome == "finished"
    text = " ".join(result.warnings)
    assert "the checkpoint step-00000006 cannot be used: the weight network.backbone.blocks.0.weight" in text
    events = [json.loads(line) for line in (tmp_path / "r" / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "rolled back"] == [3]
    assert json.loads((tmp_path / "r" / "left-out.json").read_text())["steps"] == [6]


def test_rollback_without_checkpoints_is_refused(faulty):
    with pytest.raises(SpecError, match=r"needs training.checkpoint_every") as caught:
        faulty("nan", (), nonfinite="rollback", checkpoint_every=None)
    assert caught.value.where == "training.checkpoint_every"


# ── several processes ─────────────────────────────────────────────────────────────────────────────────────────────────

EXPERIMENT_FILE = """
from didact import AdamW, BatchSize, Experiment, Training
from didact_distill import EMATeacher, LatentRegression, TopKTargets
from didact_doctor import Doctor
from faulty_parts import Encoder, Walks, tiny

experiment = Experiment(
    name="faulty",
    source=Walks(fault="huge", faulty=(8,)),
    encoder=Encoder(curve="exp"),
    masker=tiny.TinyMasker(masks=2),
    backbone=tiny.TinyBackbone(),
    targets=TopKTargets(k=2, teacher=EMATeacher(start=0.9, end=0.99)),
    objective=LatentRegression(),
    training=Training(
        steps=8, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-3), num_workers=0, log_every=1,
        checkpoint_every=3, precision="float32",
    ),
    observers=(Doctor(),),
)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parallel", "policy"), [("ddp", "skip"), ("fsdp", "rollback"), ("ddp", "stop"), ("fsdp", "stop")]
)
def test_two_processes_agree_on_a_step_that_is_bad_on_one(faulty, tmp_path, didact, parallel, policy):
    (tmp_path / "bad.py").write_text(EXPERIMENT_FILE)
    bad = steps_with(8, faulty("huge", (8,)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "didact"]
    settings = ["--set", f"training.nonfinite={policy}", "--set", f"training.strategy={parallel}"]
    result = subprocess.run(
        [*command, "run", "bad.py", "--out", "r", *settings], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert (result.returncode == 0) == (policy != "stop"), result.stderr
    bundle = tmp_path / "r" / "bundles" / f"step-{bad[0]:08d}"
    assert "first in the output of network.encoder.curve (2, 12, 8)" in read_bundle(bundle).finding
    assert read_bundle(bundle).finding.endswith("in samples 8 (walk 8) of the source")
    replayed = didact("replay", bundle)  # on one process
    assert "each sample alone: 1 of 2 not finite" in replayed.stdout
    steps = [m["step"] for m in read_metrics(tmp_path / "r")]
    if policy == "stop":
        assert steps == list(range(1, bad[0]))
        assert f"resumes from step {bad[0] - 1}" in result.stderr
        assert [path.name for path in (tmp_path / "r" / "checkpoints").iterdir()] == [f"step-{bad[0] - 1:08d}"]
    else:
        assert json.loads((tmp_path / "r" / "left-out.json").read_text())["steps"] == bad
        assert steps == [step for step in range(1, 9) if policy == "skip" or step not in bad]


KILLED_IN_ROLLBACK = """
import os, signal
from didact.record import checkpoint

if os.environ["RANK"] == RANK and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    checkpoint.load = lambda *stored: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_while_all_go_back_changes_nothing(faulty, tmp_path, rank):
    (tmp_path / "left.py").write_text(EXPERIMENT_FILE)
    (tmp_path / "killed.py").write_text(EXPERIMENT_FILE + KILLED_IN_ROLLBACK.replace("== RANK", f'== "{rank}"'))
    for name in ("left", "killed"):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["--max-restarts", "1", "-m", "didact", "run", f"{name}.py", "--out", name]
        command += ["--set", "training.nonfinite=rollback"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
        assert result.returncode == 0, result.stderr
        events = [json.loads(line)["event"] for line in (tmp_path / name / "events.jsonl").read_text().splitlines()]
        assert events.count("started") == (1 if name == "left" else 2)
    assert plain(tmp_path / "killed") == plain(tmp_path / "left")
    assert_equal_weights(tmp_path / "killed", tmp_path / "left")


# ── replay ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def bundle(faulty, tmp_path) -> Path:
    """Of a step in which sample 8 is too large, with the samples' own source gone."""
    with pytest.raises(RunError):
        run.start(faulty("huge", (8,)), tmp_path / "r")
    (found,) = (tmp_path / "r" / "bundles").iterdir()
    moved = tmp_path / "elsewhere"
    shutil.move(found, moved)
    shutil.rmtree(tmp_path / "r")
    return moved


def test_replay_names_the_tensor_and_the_sample_that_is_bad_alone(bundle, didact):
    result = didact("replay", bundle)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"step {read_bundle(bundle).step} of faulty: 4 samples, in float32 on cpu"
    assert lines[1].startswith("then: first in the output of network.encoder.curve (4, 12, 8)")
    assert lines[1].endswith("; in samples 8 (walk 8) of the source")
    assert lines[2].startswith("now:  loss nan, regression nan, gradient norm nan")
    assert lines[3] == "      first in the output of network.encoder.curve (4, 12, 8): 96 inf of 384 values"
    assert lines[4] == "      samples 8 (walk 8)"
    assert "each sample alone: 1 of 4 not finite" in lines
    bad, *others = lines[lines.index("each sample alone: 1 of 4 not finite") + 1 :]
    assert bad.startswith("  8 (walk 8): loss nan")
    assert len(others) == 3
    assert all("first in" not in line and math.isfinite(float(line.split("loss ")[1].split(",")[0])) for line in others)


def test_a_bundle_holds_the_step_and_no_code(bundle):
    held = read_bundle(bundle)
    assert {path.suffix for path in bundle.rglob("*") if path.is_file()} == {".json", ".safetensors"}
    assert held.state.step == held.step - 1
    assert held.experiment["source"]["spec"] == "faulty/walks"
    assert 8 in held.ids


@pytest.mark.parametrize("file", ["bundle.json", "batch.safetensors"])
def test_a_damaged_bundle_is_refused(bundle, didact, file):
    data = bytearray((bundle / file).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / file).write_bytes(data)
    result = didact("replay", bundle)
    assert result.returncode == 1
    assert result.stderr.startswith("error: the bundle is damaged")
    assert "Traceback" not in result.stderr


def test_a_folder_without_a_bundle_is_refused(project, didact):
    result = didact("replay", project)
    assert result.returncode == 1
    assert result.stderr.startswith("error: there is no bundle in this folder")
