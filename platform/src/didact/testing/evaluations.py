"""What every evaluation promises."""

from __future__ import annotations

import math

import torch

from didact.contracts import Evaluation, Report
from didact.experiment import Experiment
from didact.judging import RunSubject
from didact.learner import build_learner
from didact.testing.closeness import untouched_randomness
from didact.testing.teachers import assert_states


def check_evaluation(evaluation: Evaluation, experiment: Experiment) -> None:
    """Judges the untrained networks of an experiment, on the CPU.

    Args:
        evaluation: to check; its sources must be there.
        experiment: whose networks it judges.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    experiment.source.prepare()
    evaluation.prepare(experiment)
    learner = build_learner(experiment)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    subject = RunSubject(experiment, learner, torch.device("cpu"), torch.float32, step=0)
    with untouched_randomness("an evaluation draws from generators of its own, or training would go on differently"):
        report = evaluation.evaluate(subject)
    _check_report(report)
    assert_states(learner.state_dict(), before, "an evaluation leaves the network as it was")
    again = evaluation.evaluate(subject)
    assert again.metrics == report.metrics, f"the same network gets the same verdict: {report.metrics}, {again.metrics}"


def _check_report(report: Report) -> None:
    assert report.metrics or report.images, "there is a verdict"
    for name, value in report.metrics.items():
        assert isinstance(value, float), f"the metric {name} is a number, got {value!r}"
        assert not math.isinf(value), f"the metric {name} is finite"
    for name, image in report.images.items():
        assert image.dtype == torch.uint8, f"the image {name} is uint8"
        assert image.ndim == 3, f"the image {name} is (H, W, 3), got {tuple(image.shape)}"
        assert image.shape[-1] == 3, f"the image {name} is (H, W, 3), got {tuple(image.shape)}"
