"""Latent regression computed by hand: distances, scale, normaliser, class token (reference §6, §12 point 6)."""

from __future__ import annotations

import math

import attrs
import pytest
import torch

from didact import Learner, Masking, SpecError, TargetBuilderModule
from didact.learner import add_counts
from didact_distill import ConvDecoder, EMATeacher, LatentRegression, LinearHead, MLPHead, TopKTargets
from didact_kit import TinySource
from didact_kit.tiny import passes_batch, tiny_network


@pytest.fixture
def make_learner(make_network):
    def make(objective: LatentRegression) -> Learner:
        network = make_network()
        targets = TopKTargets(k=2, teacher=EMATeacher(share="nothing")).build(network)
        return Learner(network, targets, objective.build(network, targets), TinySource())

    return make


def parts_by_hand(learner, batch):
    student = learner.network(batch.views[0])
    (target,) = learner.targets(passes_batch((student,)), (student,), learner.network)
    predictions = learner.objective.head.layers(student.backbone_output.output)  # (R, T, D)
    masks = batch.views[0].mask.predicted  # (B, M, T)
    values = target.values.repeat_interleave(masks.shape[1], 0)
    chosen = masks.flatten(0, 1)
    return predictions[chosen], values[chosen]


def test_squared_distance_has_no_half_and_is_scaled_by_the_root_of_the_width(make_learner, make_batch):
    learner = make_learner(LatentRegression(head=LinearHead(), beta=0.0))
    batch = make_batch(torch.rand(3, 2, 7) < 0.4)
    predictions, values = parts_by_hand(learner, batch)
    expected = sum(float(((p - v) ** 2).sum()) / math.sqrt(8) for p, v in zip(predictions, values, strict=True))
    total, _ = learner(batch, learner.objective.num_targets(batch))
    assert float(total) == pytest.approx(expected / len(predictions), rel=1e-5)


@pytest.mark.parametrize(("scale", "factor"), [("1/sqrt(width)", 8**-0.5), ("1/width", 1 / 8), ("1", 1.0)])
def test_smooth_l1_turns_linear_at_beta(make_learner, make_batch, scale, factor):
    beta = 0.7
    learner = make_learner(LatentRegression(beta=beta, scale=scale))
    batch = make_batch(torch.rand(3, 2, 7) < 0.4)
    predictions, values = parts_by_hand(learner, batch)
    expected = 0.0
    for difference in (predictions - values).abs().flatten().tolist():
        expected += 0.5 * difference**2 / beta if difference < beta else difference - 0.5 * beta
    total, _ = learner(batch, learner.objective.num_targets(batch))
    assert float(total) == pytest.approx(factor * expected / len(predictions), rel=1e-5)


def test_the_parts_of_a_batch_add_up_to_the_whole_however_uneven(make_learner, make_batch):
    learner = make_learner(LatentRegression())
    predicted = torch.zeros(4, 1, 9, dtype=torch.bool)
    predicted[0, 0, :8] = predicted[1, 0, :1] = predicted[2, 0, 3:5] = predicted[3, 0, ::2] = True
    whole = make_batch(predicted)
    view = whole.views[0]
    parts = []
    for rows in (slice(0, 1), slice(1, 4)):
        part = make_batch(predicted[rows])
        parts.append(attrs.evolve(part, views=(attrs.evolve(part.views[0], content=view.content[rows]),)))
    num_targets = add_counts(learner.objective.num_targets(part) for part in parts)
    assert num_targets == learner.objective.num_targets(whole) == {"regression": int(predicted.sum())}
    learner(whole, num_targets)[0].backward()
    expected = {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}
    learner.zero_grad()
    # instance-normalised targets of a sample do not see the others, so the split changes nothing
    for part in parts:
        learner(part, num_targets)[0].backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(learner.get_parameter(name).grad, gradient, msg=name)


def test_gradients_reach_the_student_and_the_head_and_nothing_else(make_learner, make_batch):
    learner = make_learner(LatentRegression())
    batch = make_batch(torch.rand(3, 2, 7) < 0.4)
    learner(batch, learner.objective.num_targets(batch))[0].backward()
    with_gradient = {name for name, parameter in learner.named_parameters() if parameter.grad is not None}
    expected = {
        name
        for name, parameter in learner.named_parameters()
        if parameter.requires_grad and not name.startswith("targets")
    }
    assert with_gradient == expected
    assert expected


def test_the_class_loss_needs_a_class_token(make_learner, make_batch):
    learner = make_learner(LatentRegression(class_weight=1.0))
    batch = make_batch(torch.rand(3, 2, 7) < 0.4)
    with pytest.raises(SpecError, match="needs a class token"):
        learner(batch, learner.objective.num_targets(batch))


def test_a_view_without_a_target_is_told_and_not_counted_as_perfect(make_learner, make_batch):
    learner, batch = make_learner(LatentRegression()), make_batch(torch.rand(2, 1, 7) < 0.5)
    student = learner.network(batch.views[0])
    targets = learner.targets(passes_batch((student,)), (student,), learner.network)
    with pytest.raises(SpecError, match="makes 0 for view 1"):
        learner.objective(passes_batch((student, student)), (student, student), targets)


def test_a_view_with_two_targets_is_refused_and_does_not_double_the_loss(make_learner, make_batch):
    learner, batch = make_learner(LatentRegression()), make_batch(torch.rand(2, 1, 7) < 0.5)
    student = learner.network(batch.views[0])
    targets = learner.targets(passes_batch((student,)), (student,), learner.network)
    with pytest.raises(SpecError, match=r"predicts one target for each view, .* makes 2 for view 0"):
        learner.objective(passes_batch((student,)), (student,), (*targets, *targets))


class Others(TargetBuilderModule):
    def __init__(self, kind: str, level: str) -> None:
        super().__init__()
        self.kind, self.level, self.width = kind, level, 8

    def forward(self, batch, passes, network):
        raise AssertionError


@pytest.mark.parametrize(
    "head", [LinearHead(), MLPHead(), ConvDecoder(width=8, groups=1)], ids=lambda h: type(h).__name__
)
@pytest.mark.parametrize(("kind", "level"), [("ids", "position"), ("vectors", "sample"), ("ids", "sample")])
def test_targets_that_are_not_vectors_for_each_position_are_refused_at_build(make_network, head, kind, level):
    with pytest.raises(SpecError, match=f"LatentRegression .* but Others makes {kind} for each {level}") as caught:
        LatentRegression(head=head).build(make_network(), Others(kind, level))
    assert "such as TopKTargets" in caught.value.hint


def test_without_a_masker_it_says_so(make_learner, make_batch):
    learner = make_learner(LatentRegression())
    batch = make_batch(torch.rand(3, 1, 7) < 0.4)
    whole = attrs.evolve(batch, views=(attrs.evolve(batch.views[0], mask=None),))
    with pytest.raises(SpecError, match="the experiment has no masker"):
        learner.objective.num_targets(whole)


@pytest.mark.parametrize("head", [LinearHead(), MLPHead()])
def test_a_head_that_needs_hidden_positions_refuses_dropped_ones(head):
    network = tiny_network()
    network.masking = Masking.of("drop")
    with pytest.raises(SpecError, match="the masker drops the positions"):
        head.build(network, 8)
    network.masking = Masking.of("hide", "replace")
    head.build(network, 8)
