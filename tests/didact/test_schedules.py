"""Schedules against their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didact import Constant, Cosine, SpecError


def test_constant_is_constant_after_its_warmup():
    assert [Constant().at(step, 9) for step in range(9)] == [1.0] * 9
    assert [Constant(warmup_steps=4).at(step, 9) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_agrees_with_pytorch():
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=39, eta_min=0.1)
    ours = Cosine(final=0.1)
    for step in range(40):
        assert ours.at(step, 40) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_cosine_rises_linearly_then_falls_from_the_peak_to_its_final_value():
    schedule = Cosine(warmup_steps=10, final=0.2)
    assert [schedule.at(step, 100) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert schedule.at(10, 100) == pytest.approx(1.0)
    assert (schedule.at(54, 100) + schedule.at(55, 100)) / 2 == pytest.approx(0.6)  # half way down
    assert schedule.at(99, 100) == pytest.approx(0.2)  # the last of 100 steps


def test_cosine_rises_from_its_initial_value():
    schedule = Cosine(initial=0.1, final=1.0)
    assert [schedule.at(step, 101) for step in (0, 25, 50, 100)] == pytest.approx([0.1, 0.2318, 0.55, 1.0], abs=1e-4)
    assert [Cosine(initial=0.4, warmup_steps=2).at(step, 9) for step in range(3)] == pytest.approx([0.2, 0.4, 0.4])


@given(
    st.integers(1, 10_000),
    st.one_of(
        st.builds(Constant, warmup_steps=st.integers(0, 100)),
        st.builds(Cosine, warmup_steps=st.integers(0, 20_000), initial=st.floats(0, 1), final=st.floats(0, 1)),
    ),
)
def test_a_factor_stays_between_0_and_1_for_any_number_of_steps(steps, schedule):
    for step in {0, steps // 3, steps // 2, steps - 1, steps}:
        assert 0 <= schedule.at(step, steps) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (Constant, {"warmup_steps": -1}),
        (Cosine, {"final": 2.0}),
        (Cosine, {"initial": -0.1}),
    ],
)
def test_settings_out_of_range_are_refused(cls, fields):
    with pytest.raises(SpecError):
        cls(**fields)
