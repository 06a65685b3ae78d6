"""The EMA teacher against the definition in data2vec §3.2."""

from __future__ import annotations

import math
import re

import attrs
import pytest
import torch

from didact import Collect, SpecError
from didact.testing import tiny_preflight
from didact_distill import EMATeacher


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
    teacher = EMATeacher(shares="nothing").build(network)
    batch = make_batch(torch.zeros(2, 1, 5, dtype=torch.bool))
    student = network(batch.views[0])
    assert torch.equal(teacher(student, network).output, student.context.output)


def test_after_one_step_the_teacher_is_the_weighted_mean(make_network):
    network = make_network()
    teacher = EMATeacher(start=0.9, end=0.9, anneal_steps=0, shares="nothing").build(network)
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
    teacher = EMATeacher(start=0.9, end=0.9, anneal_steps=0, shares="encoder").build(network)
    move(network)
    teacher.after_step(network, 1, 10)
    assert not [name for name, _ in teacher.named_parameters() if name.startswith("encoder")]
    student = network(make_batch(torch.zeros(2, 1, 5, dtype=torch.bool)).views[0])
    judged = teacher.subject(network)
    assert judged.encoder is network.encoder
    context = teacher(student, network)
    assert torch.equal(context.tokens.features, network.encoder.place(student.tokens, None).features)


def test_shared_features_keep_an_average_of_the_position_codes(make_network, make_batch):
    network = make_network()
    teacher = EMATeacher(start=1.0, end=1.0, anneal_steps=0, shares="features").build(network)
    move(network)
    teacher.after_step(network, 1, 10)
    student = network(make_batch(torch.zeros(2, 1, 5, dtype=torch.bool)).views[0])
    placed = teacher(student, network).tokens.features
    torch.testing.assert_close(placed, teacher.encoder.place(student.tokens, None).features)
    assert not torch.allclose(placed, network.encoder.place(student.tokens, None).features)


def test_integer_buffers_are_copied_and_never_averaged(make_network):
    network = make_network()
    teacher = EMATeacher(start=0.5, end=0.5, anneal_steps=0, shares="nothing").build(network)
    network.encoder.counter.fill_(100)
    teacher.after_step(network, 1, 10)
    assert teacher.encoder.counter.dtype == torch.int64
    assert int(teacher.encoder.counter) == 100


def test_the_master_stays_float32_when_the_pass_is_bfloat16(make_network, make_batch):
    network = make_network()
    teacher = EMATeacher(shares="nothing").build(network)
    with torch.autocast("cpu", torch.bfloat16):
        student = network(make_batch(torch.zeros(2, 1, 5, dtype=torch.bool)).views[0])
        context = teacher(student, network, Collect(feature="ffn", last=1))
    assert context.features[0].dtype == torch.bfloat16
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}


def test_nothing_of_the_teacher_has_a_gradient_and_it_never_trains(make_network, make_batch):
    network = make_network(dropout=0.5)
    teacher = EMATeacher(shares="encoder").build(network)
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
    mended = float(re.search(r"at most ([\d.]+)", found.mend).group(1))
    (again,) = EMATeacher(start=mended, end=mended, anneal_steps=0).examine(tiny_preflight(steps=steps))
    assert again.severity == "fine"


def test_a_teacher_that_begins_with_trained_weights_may_keep_them():
    preflight = attrs.evolve(tiny_preflight(steps=100), pretrained=True)
    (found,) = EMATeacher(start=0.9999, end=0.9999, anneal_steps=0).examine(preflight)
    assert found.severity == "fine"
    assert "99% of the teacher is still what it began as" in found.says


def test_a_decay_that_never_ends_its_rise_is_warned_of():
    found = list(EMATeacher(start=0.9, end=0.99, anneal_steps=30_000).examine(tiny_preflight(steps=300)))
    assert [(each.severity, each.where) for each in found] == [("fine", ""), ("warning", "anneal_steps")]
    assert found[1].mend == "anneal_steps=None, the whole run, or at most 300"


@pytest.mark.parametrize("course", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 7, 1_500])
def test_none_anneals_over_the_whole_run(course, steps):
    whole = EMATeacher(start=0.9, end=0.99, anneal_steps=None, course=course)
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
    teacher = EMATeacher(start=0.996, end=1.0, anneal_steps=1_000, course="cosine")
    for step in (1, 250, 500, 999, 1_000, 2_000):
        share = min(step, 1_000) / 1_000
        expected = 1 - (1 - 0.996) * (math.cos(math.pi * share) + 1) / 2  # Grill et al. 2020, section 3.3
        assert teacher.decay(step, 2_000) == pytest.approx(expected, abs=1e-12)
