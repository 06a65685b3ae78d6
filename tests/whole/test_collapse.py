"""Collapse of targets or predictions is reported once or ends the run, as the experiment specifies."""

from __future__ import annotations

import pytest
import torch

from didact import RunError, run
from didact.loop import faults
from didact.loop.trainer import Trainer
from didact.record.folder import read_metrics

TARGETS, PREDICTIONS = "collapse/target_std", "collapse/prediction_std"
FALLING = {step: (0.5, 0.4) if step < 4 else (0.04, 0.03) for step in range(1, 9)}


@pytest.fixture
def spread(monkeypatch):
    """Has the steps log given values for the spread of targets and predictions."""

    def arrange(course: dict[int, tuple[float, float]]) -> None:
        original = Trainer.take_step

        def take_step(self, batch, **settings):
            scalars = original(self, batch, **settings)
            targets, predictions = course[self.step]
            return {**scalars, TARGETS: torch.tensor(targets), PREDICTIONS: torch.tensor(predictions)}

        monkeypatch.setattr(Trainer, "take_step", take_step)

    return arrange


def warnings_of(result) -> list[str]:
    return [warning for warning in result.warnings if "collapsed" in warning]


def test_a_collapse_is_reported_once(faulty, tmp_path, spread):
    spread(FALLING)
    result = run.start(faulty("nan", ()), tmp_path / "r")
    assert result.outcome == "finished"
    (warning,) = warnings_of(result)
    assert warning.startswith(f"the targets have collapsed: {TARGETS} is 0.04, and was 0.5 after step 4")
    assert "training.collapse=stop would end such a run" in warning


def test_stop_ends_the_run_with_a_checkpoint(faulty, tmp_path, spread):
    spread(FALLING)
    with pytest.raises(RunError, match=r"the targets have collapsed.* after step 4") as caught:
        run.start(faulty("nan", (), collapse="stop"), tmp_path / "r")
    assert caught.value.hint.startswith("start anew")
    assert "resume" not in caught.value.hint
    assert (tmp_path / "r" / "checkpoints" / "step-00000004").is_dir()
    assert [line["step"] for line in read_metrics(tmp_path / "r")] == [1, 2, 3, 4]
    with pytest.raises(RunError, match=r"was 0.5 after step 5"):  # it knows what was logged before it was resumed
        run.resume(tmp_path / "r")


def test_ignore_reports_nothing(faulty, tmp_path, spread):
    spread(FALLING)
    assert warnings_of(run.start(faulty("nan", (), collapse="ignore"), tmp_path / "r")) == []


@pytest.mark.parametrize(
    ("course", "collapsed"),
    [
        ((1.0, 0.0), "the predictions have collapsed: collapse/prediction_std is 0, the targets' 1 after step 1"),
        ((1e-6, 1e-6), ""),  # a small scale is no collapse
        ((1.0, 0.02), ""),
        ((float("nan"), 0.0), ""),  # not finite, which is another fault
    ],
)
def test_what_counts_is_the_share(faulty, tmp_path, spread, monkeypatch, course, collapsed):
    monkeypatch.setattr(faults, "EARLY_STEPS", 0)
    spread(dict.fromkeys(range(1, 9), course))
    warnings = warnings_of(run.start(faulty("nan", ()), tmp_path / "r"))
    assert [warning.partition(";")[0] for warning in warnings] == ([collapsed] if collapsed else [])


@pytest.mark.parametrize(("early", "steps", "reported_after"), [(0, 30, 4), (7, 30, 8), (100, 30, None)])
def test_predictions_may_be_alike_at_first(faulty, tmp_path, spread, monkeypatch, early, steps, reported_after):
    monkeypatch.setattr(faults, "EARLY_STEPS", early)
    spread(dict.fromkeys(range(1, steps + 1), (1.0, 0.0)))
    warnings = warnings_of(run.start(faulty("nan", (), steps=steps), tmp_path / "r"))
    assert [f"after step {reported_after};" in warning for warning in warnings] == ([True] if reported_after else [])
