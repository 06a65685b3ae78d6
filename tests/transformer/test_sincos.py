"""Sines and cosines; tests/vision compares those of grids with other implementations."""

from __future__ import annotations

import math

import pytest
import torch

from didact import Layout, SpecError
from didact_transformer.sincos import sincos_positions


@pytest.mark.parametrize(("length", "width"), [(5, 12), (1, 2), (300, 8)])
def test_along_a_sequence_all_sines_stand_before_all_cosines(length, width):
    positions, waves = sincos_positions(Layout((length,)), width), width // 2
    assert positions.shape == (length, width)
    assert positions.dtype == torch.float32
    for t in range(length):
        angles = [t / 10_000 ** (2 * i / width) for i in range(waves)]  # Vaswani et al. 2017, section 3.5
        expected = [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert positions[t].tolist() == pytest.approx(expected, abs=1e-6)


def test_of_three_axes_the_last_has_the_first_third_of_the_channels():
    shape, width = (2, 3, 4), 12
    positions = sincos_positions(Layout(shape), width).reshape(*shape, width)
    for place in torch.cartesian_prod(*map(torch.arange, shape)).tolist():
        expected = []
        for at in reversed(place):
            angles = [at, at / 100]  # 10000^(-i / 2)
            expected += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert positions[tuple(place)].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("shape", "width"), [((6,), 7), ((2, 3), 6), ((2, 3, 4), 8), ((2, 3), 2)])
def test_a_width_that_axes_cannot_share_is_refused(shape, width):
    with pytest.raises(
        SpecError, match=f"along {len(shape)} axes .* multiple of {2 * len(shape)}, got {width}"
    ) as caught:
        sincos_positions(Layout(shape), width)
    assert caught.value.where == "width"
