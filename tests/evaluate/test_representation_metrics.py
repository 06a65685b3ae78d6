"""Representation metrics distinguish kinds of collapse."""

import math

import pytest
import torch

from didact import SpecError
from didact_evaluate import RepresentationMetrics


def _metrics(world, **changes):
    return RepresentationMetrics(samples=40).evaluate(world.Judged(world.experiment(**changes))).metrics


def test_a_living_network_has_rank_and_spread(world):
    metrics = _metrics(world)
    assert metrics["student_rank"] > 1.5
    assert 1 < metrics["student_token_rank"] <= 8
    assert metrics["student_std"] > 0.1
    assert metrics["student_cosine"] < 0.99
    assert metrics["target_std"] > 0.1


def test_a_constant_network_has_rank_one_and_points_one_way(world):
    state = world.Judged(world.experiment(encoder=world.Frames(width=8, class_token=False)))
    with torch.no_grad():
        state.learner.network.encoder.project.weight.zero_()
    metrics = RepresentationMetrics(samples=40).evaluate(state).metrics
    assert math.isclose(metrics["student_rank"], 1, abs_tol=0.05)
    assert metrics["student_std"] < 0.05
    assert metrics["student_cosine"] > 0.99
    assert metrics["target_std"] < 1e-6


def test_predictions_that_follow_the_position_alone_are_found(world):
    metrics = _metrics(world, objective=world.Guess(kind="position"))
    assert metrics["prediction_std"] > 0.1
    assert metrics["prediction_std_positions"] > 0.1
    assert metrics["prediction_std_samples"] < 1e-6


def test_predictions_that_are_all_the_same_are_found(world):
    metrics = _metrics(world, objective=world.Guess(kind="constant"))
    assert metrics["prediction_std"] < 1e-6
    assert metrics["prediction_std_positions"] < 1e-6


def test_exact_predictions_vary_as_the_targets_do(world):
    metrics = _metrics(world, objective=world.Guess(kind="exact"))
    for name in ("std", "std_positions", "std_samples"):
        assert metrics[f"prediction_{name}"] == metrics[f"target_{name}"]


def test_the_spread_of_targets_is_that_of_what_the_first_masks_hide(world):
    experiment = world.experiment(source=world.Sequences(count=8))
    state = world.Judged(experiment)
    metrics = RepresentationMetrics(samples=8).evaluate(state).metrics
    values, owners = [], []
    opened = experiment.source.open()
    for index in range(8):
        frames = opened.content(index).reshape(-1, 4)
        hidden = state.learner.network.encoder.project(frames[: len(frames) // 2]).double()
        values.append(hidden - hidden.mean(0))
        owners.append(len(hidden))
    squares = torch.cat(values).square().mean(1).sum()
    several = [count for count in owners if count > 1]
    expected = (
        torch.cat([v for v in values if len(v) > 1]).square().mean(1).sum() / sum(c - 1 for c in several)
    ).sqrt()
    assert squares > 0
    assert math.isclose(metrics["target_std_positions"], float(expected.detach()), rel_tol=1e-4)


def test_a_teacher_that_is_the_student_is_judged_once(world):
    assert not any(name.startswith("teacher") for name in _metrics(world))


def test_a_teacher_of_its_own_is_judged_too(world):
    state = world.Judged(world.experiment())
    other = world.Judged(world.experiment()).learner.network
    state.teacher = lambda: other
    metrics = RepresentationMetrics(samples=40).evaluate(state).metrics
    assert metrics["teacher_rank"] == metrics["student_rank"]


def test_labels_are_not_needed(world):
    metrics = (
        RepresentationMetrics(source=world.Sequences(labelled=False), samples=20)
        .evaluate(world.Judged(world.experiment()))
        .metrics
    )
    assert all(math.isfinite(value) for value in metrics.values())


def test_one_sample_is_too_few():
    with pytest.raises(SpecError, match=r"RepresentationMetrics.samples must be at least 2"):
        RepresentationMetrics(samples=1)
