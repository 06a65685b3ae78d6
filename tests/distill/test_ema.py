"""The EMA teacher against the definition in data2vec §3.2."""

from __future__ import annotations

import copy
import math
import re

import attrs
import pytest
import torch

from didact import HiddenState, Layout, Signal, SpecError, StudentPass, Tokens, View
from didact_distill import EMATeacher
from didact_kit import tiny_preflight
from didact_speech import ConvWaveform, MelFilterbank
from didact_text import TokenEmbeddings
from didact_vision import Patches


def move(network, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_decay_rises_linearly_and_stays():
    teacher = EMATeacher(start=0.9, end=1.0, anneal_steps=100)
    assert [teacher.decay(step, 2000) for step in (50, 100, 1000)] == [pytest.approx(0.95), 1.0, 1.0]
    assert EMATeacher(start=0.5, end=0.99, anneal_steps=0).decay(1, 2000) == 0.99


def test_the_teacher_starts_as_the_student(make_network, make_batch):
    network = make_network()
    teacher = EMATeacher(share="nothing").build(network)
    batch = make_batch(torch.zeros(2, 1, 5, dtype=torch.bool))
    student = network(batch.views[0])
    assert torch.equal(teacher(student, network).output, student.backbone_output.output)


def test_after_one_step_the_teacher_is_the_weighted_mean(make_network):
    network = make_network()
    teacher = EMATeacher(start=0.9, end=0.9, anneal_steps=0, share="nothing").build(network)
    before = {name: value.clone() for name, value in teacher.named_parameters()}
    move(network)
    teacher.after_step(network, 1, 10)
    for part, student in (("backbone", network.backbone), ("encoder", network.encoder)):
        for name, value in student.named_parameters():
            mine = teacher.get_submodule(part).get_parameter(name)
            expected = value if not value.requires_grad else 0.9 * before[f"{part}.{name}"] + 0.1 * value
            torch.testing.assert_close(mine, expected, msg=name)


def test_a_shared_encoder_is_the_students_bit_for_bit(make_network, make_batch):
    network = make_network()
    teacher = EMATeacher(start=0.9, end=0.9, anneal_steps=0, share="encoder").build(network)
    move(network)
    teacher.after_step(network, 1, 10)
    assert not [name for name, _ in teacher.named_parameters() if name.startswith("encoder")]
    student = network(make_batch(torch.zeros(2, 1, 5, dtype=torch.bool)).views[0])
    judged = teacher.evaluated_network(network)
    assert judged.encoder is network.encoder
    context = teacher(student, network)
    assert torch.equal(context.tokens.features, network.encoder.place(student.tokens, None).features)


def test_shared_features_keep_an_average_of_the_position_codes(make_network, make_batch):
    network = make_network()
    teacher = EMATeacher(start=1.0, end=1.0, anneal_steps=0, share="features").build(network)
    move(network)
    teacher.after_step(network, 1, 10)
    student = network(make_batch(torch.zeros(2, 1, 5, dtype=torch.bool)).views[0])
    before = make_network().encoder  # whose positions the teacher still has
    expected = student.tokens.features + before.positions(torch.arange(5.0)[:, None])
    torch.testing.assert_close(teacher(student, network).tokens.features, expected)
    assert not torch.allclose(expected, network.encoder.place(student.tokens, None).features)
    judged = teacher.evaluated_network(network).encoder
    torch.testing.assert_close(judged.place(judged.embed(student.view), None).features, expected)


def test_a_teacher_that_shares_the_features_copies_and_averages_the_position_parts_alone(make_network):
    network = make_network()
    teacher = EMATeacher(start=0.5, end=0.5, anneal_steps=0, share="features").build(network)
    own = {name: value.clone() for name, value in teacher.encoder.named_parameters()}
    assert own.keys() == {"positions.weight", "positions.bias", "scale"}
    student = {name: value.clone() for name, value in network.named_parameters()}
    move(network)
    teacher.after_step(network, 1, 10)
    for name, value in teacher.encoder.named_parameters():
        torch.testing.assert_close(value, (own[name] + network.encoder.get_parameter(name)) / 2, msg=name)
    for name, value in network.named_parameters():  # what it shares it never moves
        assert value.requires_grad == (name != "encoder.frozen")
        assert name == "encoder.frozen" or not torch.equal(value, student[name])


def test_an_encoder_that_does_not_name_its_position_parts_is_averaged_whole(make_network, make_batch):
    network = make_network()
    network.encoder.position_parts = None
    teacher = EMATeacher(start=1.0, end=1.0, anneal_steps=0, share="features").build(network)
    assert teacher.encoder.state_dict().keys() == network.encoder.state_dict().keys() - {"counter"}
    move(network)
    student = network(make_batch(torch.zeros(2, 1, 5, dtype=torch.bool)).views[0])
    expected = student.tokens.features + make_network().encoder.positions(torch.arange(5.0)[:, None])
    torch.testing.assert_close(teacher(student, network).tokens.features, expected)


WAVES = Signal(kind="waveform", axes=(None,), rate_hz=16_000)
IMAGES = Signal(kind="image", axes=(3, 16, 16))
TEXT = Signal(kind="tokens", axes=(None,), vocabulary=20)


@pytest.mark.parametrize(
    ("spec", "signal", "layout"),
    [
        (
            ConvWaveform(width=16, channels=8, layers=((4, 4),), position_depth=2, position_groups=4),
            WAVES,
            Layout((9,)),
        ),
        (MelFilterbank(width=16, bands=6, window=20, hop=8, position_groups=4), WAVES, Layout((9,))),
        (TokenEmbeddings(width=16), TEXT, Layout((9,))),
        (Patches(width=16, patch=4, positions="learned"), IMAGES, Layout((4, 4))),
        (Patches(width=16, patch=4, positions="sincos", class_token=False), IMAGES, Layout((4, 4))),
        (Patches(width=16, patch=4, positions="none", mask_token=True), IMAGES, Layout((4, 4))),
    ],
)
def test_the_position_parts_of_an_encoder_are_all_that_places_unmasked_tokens(make_network, spec, signal, layout):
    network = make_network(width=16)
    network.encoder = spec.build(signal)
    copied = copy.deepcopy(network.encoder).eval()
    teacher = EMATeacher(start=1.0, end=1.0, anneal_steps=0, share="features").build(network)
    move(network)
    teacher.after_step(network, 1, 10)
    tokens = Tokens(features=torch.randn(2, layout.positions, 16), layout=layout)
    student = StudentPass(view=View(content=torch.zeros(2), layout=layout), tokens=tokens, backbone_output=None)
    placed = teacher(student, network).tokens.features
    torch.testing.assert_close(placed, copied.place(tokens, None).features)
    own, whole = (sum(p.numel() for p in each.parameters()) for each in (teacher.encoder, copied))
    embedding = copied.tokens if spec.__class__ is TokenEmbeddings else copied.projection
    assert own <= whole - sum(p.numel() for p in embedding.parameters())


@pytest.mark.parametrize("share", ["encoder", "features"])
def test_a_shared_part_that_is_kept_in_evaluation_mode_stays_in_it(make_network, make_batch, share):
    network = make_network(dropout=0.5)
    teacher = EMATeacher(share=share).build(network)
    network.train()
    network.encoder.embedding.eval()
    student = network(make_batch(torch.zeros(2, 1, 5, dtype=torch.bool)).views[0])
    teacher(student, network)
    assert network.encoder.training
    assert network.encoder.dropout.training
    assert not network.encoder.embedding.training


def test_integer_buffers_are_copied_and_never_averaged(make_network):
    network = make_network()
    teacher = EMATeacher(start=0.5, end=0.5, anneal_steps=0, share="nothing").build(network)
    network.encoder.counter.fill_(100)
    teacher.after_step(network, 1, 10)
    assert teacher.encoder.counter.dtype == torch.int64
    assert int(teacher.encoder.counter) == 100


def test_the_master_stays_float32_when_the_pass_is_bfloat16(make_network, make_batch):
    network = make_network()
    teacher = EMATeacher(share="nothing").build(network)
    with torch.autocast("cpu", torch.bfloat16):
        student = network(make_batch(torch.zeros(2, 1, 5, dtype=torch.bool)).views[0])
        context = teacher(student, network, HiddenState.last("ffn", 1, 3))
    assert context.hidden_states[0].dtype == torch.bfloat16
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}


def test_nothing_of_the_teacher_has_a_gradient_and_it_never_trains(make_network, make_batch):
    network = make_network(dropout=0.5)
    teacher = EMATeacher(share="encoder").build(network)
    network.train()
    teacher.train()
    view = make_batch(torch.zeros(2, 1, 5, dtype=torch.bool)).views[0]
    student = network(view)
    first, second = teacher(student, network).output, teacher(student, network).output
    assert torch.equal(first, second)  # the shared encoder's dropout is off for the teacher
    assert network.encoder.training
    assert not first.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.backbone.training


def test_a_decay_of_one_stands_still(make_network):
    network = make_network()
    teacher = EMATeacher(start=1.0, end=1.0, anneal_steps=0).build(network)
    before = [parameter.clone() for parameter in teacher.parameters()]
    move(network)
    assert teacher.after_step(network, 1, 10) == {"teacher/decay": 1.0}
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))


def test_a_decay_out_of_range_says_how_to_mend_it():
    with pytest.raises(SpecError, match=r"EMATeacher.start must be between 0 and 1, got 1.5"):
        EMATeacher(start=1.5)
    assert attrs.evolve(EMATeacher(), start=0.5).start == 0.5


def test_a_teacher_that_forgets_its_initialisation_is_fine():
    (found,) = EMATeacher(start=0.99, end=0.999, anneal_steps=1_500).examine(tiny_preflight(steps=1_500))
    assert found.severity == "fine"
    assert "half-life is 693 steps" in found.says  # ln 2 / 0.001


@pytest.mark.parametrize(("start", "end", "anneal_steps"), [(0.999, 0.9999, 500), (0.999, 0.999, 0), (0.99, 1.0, 100)])
def test_what_is_left_of_the_initialisation_is_the_product_of_all_decays(start, end, anneal_steps):
    teacher, steps = EMATeacher(start=start, end=end, anneal_steps=anneal_steps), 800
    left = math.prod(teacher.decay(step, steps) for step in range(1, steps + 1))
    (found,) = teacher.examine(tiny_preflight(steps=steps))
    assert found.severity == "warning"
    assert f"{left:.0%} of the teacher is still its random initialisation" in found.says
    mended = float(re.search(r"at most ([\d.]+)", found.hint).group(1))
    (again,) = EMATeacher(start=mended, end=mended, anneal_steps=0).examine(tiny_preflight(steps=steps))
    assert again.severity == "fine"


def test_a_teacher_that_begins_with_trained_weights_may_keep_them():
    preflight = attrs.evolve(tiny_preflight(steps=100), pretrained=True)
    (found,) = EMATeacher(start=0.9999, end=0.9999, anneal_steps=0).examine(preflight)
    assert found.severity == "fine"
    assert "99% of the teacher's start remains" in found.says


def test_a_decay_that_never_ends_its_rise_is_warned_of():
    found = list(EMATeacher(start=0.9, end=0.99, anneal_steps=30_000).examine(tiny_preflight(steps=300)))
    assert [(each.severity, each.where) for each in found] == [("fine", ""), ("warning", "anneal_steps")]
    assert found[1].hint == "set anneal_steps to None, for the whole run, or to at most 300"


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 7, 1_500])
def test_none_anneals_over_the_whole_run(schedule, steps):
    whole = EMATeacher(start=0.9, end=0.99, anneal_steps=None, schedule=schedule)
    counted = attrs.evolve(whole, anneal_steps=steps)
    for step in range(1, steps + 1):
        assert whole.decay(step, steps) == counted.decay(step, steps)
    assert whole.decay(steps, steps) == 0.99
    assert list(whole.examine(tiny_preflight(steps=steps))) == list(counted.examine(tiny_preflight(steps=steps)))


def test_a_number_anneals_over_so_many_steps_of_any_run():
    teacher = EMATeacher(start=0.9, end=1.0, anneal_steps=100)
    assert teacher.decay(50, 60) == teacher.decay(50, 100) == teacher.decay(50, 10_000) == pytest.approx(0.95)


def test_the_update_is_by_the_decay_of_the_step_and_the_run(make_network):
    network = make_network()
    teacher = EMATeacher(start=0.9, end=0.99, anneal_steps=None).build(network)
    assert teacher.after_step(network, 5, 10) == {"teacher/decay": pytest.approx(0.945)}
    assert teacher.after_step(network, 5, 20) == {"teacher/decay": pytest.approx(0.9225)}


def test_a_rise_over_the_whole_run_ends_with_it_however_long_it_is():
    for steps in (300, 30_000):
        (found,) = EMATeacher(start=0.9, end=0.99, anneal_steps=None).examine(tiny_preflight(steps=steps))
        assert found.severity == "fine"


def test_anneal_steps_below_zero_are_refused():
    with pytest.raises(SpecError, match=r"anneal_steps must be at least 0, or None, got -1"):
        EMATeacher(anneal_steps=-1)


def test_a_teacher_that_copies_the_student_can_be_examined():
    (found,) = EMATeacher(start=0.5, end=0.0, anneal_steps=10).examine(tiny_preflight(steps=10))
    assert found.severity == "fine"


def test_a_cosine_course_is_byols():
    teacher = EMATeacher(start=0.996, end=1.0, anneal_steps=1_000, schedule="cosine")
    for step in (1, 250, 500, 999, 1_000, 2_000):
        share = min(step, 1_000) / 1_000
        expected = 1 - (1 - 0.996) * (math.cos(math.pi * share) + 1) / 2  # Grill et al. 2020, section 3.3
        assert teacher.decay(step, 2_000) == pytest.approx(expected, abs=1e-12)
