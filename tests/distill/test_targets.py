"""Top-K targets against the definition in data2vec §3.3 (reference §12, points 1 and 3)."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import instance_norm, layer_norm

from didact import BackboneOutput, HiddenState, Layout, SpecError, Teacher, TeacherModule, Tokens
from didact_distill import EMATeacher, TopKTargets
from didact_kit import tiny_preflight
from didact_kit.tiny import passes_batch


def features_of(network, view):
    """The blocks' outputs on the whole input, computed without any of the code under test."""
    x = network.encoder.embedding(view.content)
    x = x + network.encoder.positions(torch.arange(x.shape[1], dtype=torch.float32)[:, None])
    features = []
    for block in network.backbone.blocks:
        features.append(block(x))
        x = x + torch.tanh(features[-1])
    return features


def test_targets_are_the_mean_of_the_normalised_top_layers(make_network, make_batch):
    network = make_network(depth=4)
    spec = TopKTargets(k=3, normalize="instance", normalize_average="layer", teacher=EMATeacher(share="nothing"))
    builder = spec.build(network)
    batch = make_batch(torch.rand(2, 2, 9) < 0.5)
    (target,) = builder(batch, tuple(network(view) for view in batch.views), network)
    layers = features_of(network, batch.views[0])[-3:]
    mean = sum(instance_norm(layer.transpose(1, 2)).transpose(1, 2) for layer in layers) / 3
    torch.testing.assert_close(target.values, layer_norm(mean, (8,)))
    assert target.values.shape == (2, 9, 8)  # once per sample, whatever the number of masks
    assert not target.values.requires_grad


def test_targets_do_not_depend_on_the_masks(make_network, make_batch):
    network = make_network()
    builder = TopKTargets(k=2).build(network)
    of = [make_batch(torch.rand(2, 1, 9, generator=torch.Generator().manual_seed(s)) < 0.5) for s in (1, 2)]
    first, second = (builder(batch, (network(batch.views[0]),), network)[0].values for batch in of)
    assert torch.equal(first, second)


def test_only_the_layers_asked_for_matter(make_network, make_batch):
    network = make_network(depth=4)
    batch = make_batch(torch.rand(2, 1, 9) < 0.5)
    ones = TopKTargets(k=1, normalize="none", teacher=EMATeacher(share="nothing")).build(network)
    (target,) = ones(batch, (network(batch.views[0]),), network)
    torch.testing.assert_close(target.values, features_of(network, batch.views[0])[-1])


class Expanded(Teacher):
    """A teacher whose features are one vector for all positions, expanded, as a pooled summary is."""

    def build(self, network):
        return ExpandedModule()


class ExpandedModule(TeacherModule):
    def __init__(self):
        super().__init__()
        self.features = torch.tensor([[1.0, 2.0], [10.0, 20.0]])

    def forward(self, student, network, hidden_states=()):
        tokens = Tokens(features=torch.zeros(2, 3, 2), layout=Layout((3,)))
        states = tuple(self.features[i, None, None].expand(2, 3, 2) for i in range(2))
        return BackboneOutput(output=tokens.features, tokens=tokens, hidden_states=states)


def test_averaging_without_normalisation_leaves_what_the_teacher_returned_as_it_was(make_network, make_batch):
    network = make_network()
    builder = TopKTargets(k=2, normalize="none", teacher=Expanded()).build(network)
    student = network(make_batch(torch.rand(2, 1, 3) < 0.5).views[0])
    (target,) = builder(passes_batch((student,)), (student,), network)
    assert target.values.tolist() == [[[5.5, 11.0]] * 3] * 2
    assert builder.teacher.features.tolist() == [[1.0, 2.0], [10.0, 20.0]]


def test_features_that_stand_for_other_positions_are_refused(make_network, make_batch):
    network = make_network()
    builder = TopKTargets(k=2, normalize="none", teacher=Expanded()).build(network)
    student = network(make_batch(torch.rand(2, 1, 5) < 0.5).views[0])
    with pytest.raises(SpecError, match=r"the encoder's 5 positions, but the teacher's features stand for 3"):
        builder(passes_batch((student,)), (student,), network)


@pytest.mark.parametrize("field", ["normalize", "normalize_average"])
def test_statistics_of_a_batch_are_not_those_of_its_parts(field):
    assert TopKTargets(k=2).supports_accumulation
    assert not TopKTargets(k=2, **{field: "batch"}).supports_accumulation


def test_more_layers_than_the_backbone_has_is_an_error_before_training(make_network):
    with pytest.raises(SpecError, match=r"TopKTargets.k must be at most the backbone's depth, 3, got 5"):
        TopKTargets(k=5).build(make_network(depth=3))


def test_the_released_text_teacher_sees_masked_content_alone(make_network, make_batch):
    network = make_network()
    spec = TopKTargets(k=1, teacher_sees="masked", teacher=EMATeacher(share="encoder"))
    builder = spec.build(network)
    seen = []
    builder.teacher.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].padding))
    batch = make_batch(torch.rand(2, 1, 9) < 0.5)
    builder(batch, (network(batch.views[0]),), network)
    assert torch.equal(seen[0], ~batch.views[0].mask.predicted[:, 0])


def test_a_teacher_that_sees_masked_content_alone_refuses_several_masks(make_network, make_batch):
    network = make_network()
    builder = TopKTargets(k=1, teacher_sees="masked").build(network)
    student = network(make_batch(torch.rand(2, 2, 9) < 0.5).views[0])
    with pytest.raises(SpecError, match="the masker draws 2 masks for each sample") as caught:
        builder(passes_batch((student,)), (student,), network)
    assert caught.value.where == "experiment.targets.teacher_sees"


def test_an_unmasked_student_equals_the_teacher_at_the_start(make_network, make_batch):
    network = make_network().eval()
    teacher = EMATeacher(share="nothing").build(network)
    batch = make_batch(torch.zeros(2, 2, 9, dtype=torch.bool))
    student = network(batch.views[0])
    expected = teacher(student, network, HiddenState.last("block", 1, 3)).output
    torch.testing.assert_close(student.backbone_output.output, expected.repeat_interleave(2, 0))


def test_averaging_layers_that_are_not_normalised_is_warned_of():
    (found,) = TopKTargets(k=3, normalize="none").examine(tiny_preflight())
    assert (found.severity, found.where) == ("warning", "normalize")
    for fine in (TopKTargets(k=1, normalize="none"), TopKTargets(k=3)):
        (found,) = fine.examine(tiny_preflight())
        assert (found.severity, found.where) == ("fine", "k")
    assert "top 3 of 4 layers" in found.says
