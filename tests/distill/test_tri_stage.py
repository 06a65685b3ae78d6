"""The tri-stage schedule against its definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didact import SpecError
from didact_distill import TriStage


def test_tri_stage_is_that_of_data2vec_speech():
    # 400 000 steps, 3 % warm-up, 90 % at the peak, 7 % decay, both ends at 0.01 (reference §7)
    schedule = TriStage()
    assert schedule.at(0, 400_000) == pytest.approx(0.01)
    assert schedule.at(6_000, 400_000) == pytest.approx(0.505)
    assert schedule.at(12_000, 400_000) == 1.0
    assert schedule.at(371_999, 400_000) == 1.0
    assert schedule.at(386_000, 400_000) == pytest.approx(math.sqrt(0.01), rel=1e-3)  # exponential: geometric middle
    assert schedule.at(399_999, 400_000) == pytest.approx(0.01)  # the last step


SHARES = st.floats(0, 0.5)


@given(
    st.integers(1, 10_000),
    st.builds(TriStage, warmup=SHARES, hold=SHARES, initial=st.floats(0, 1), final=st.floats(0.01, 1)),
)
def test_a_factor_stays_between_0_and_1_for_any_number_of_steps(steps, schedule):
    for step in {0, steps // 3, steps // 2, steps - 1, steps}:
        assert 0 <= schedule.at(step, steps) <= 1 + 1e-9


@pytest.mark.parametrize("fields", [{"warmup": 0.5, "hold": 0.6}, {"final": 0.0}])
def test_settings_out_of_range_are_refused(fields):
    with pytest.raises(SpecError):
        TriStage(**fields)
