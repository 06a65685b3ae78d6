"""Fourier features of positions."""

import math

import pytest
import torch

from didact import Layout, SpecError, Tokens
from didact_perceiver import FourierPositions


def test_a_sequences_features_are_the_papers():
    spec = FourierPositions(bands=3)
    found = spec.at(torch.arange(8), Layout((8,)), True)
    assert found.shape == (8, spec.width(1)) == (8, 7)
    for index in range(8):
        x = -1 + (2 * index + 1) / 8
        angles = [math.pi * x * f for f in (1, 2.5, 4)]  # from 1 to half the size, evenly
        expected = [*map(math.sin, angles), *map(math.cos, angles), x]
        torch.testing.assert_close(found[index], torch.tensor(expected))


def test_a_grids_axes_stand_side_by_side():
    spec = FourierPositions(bands=2)
    grid = spec.at(torch.arange(12), Layout((3, 4)), True)
    rows, columns = spec.at(torch.arange(3), Layout((3,)), True), spec.at(torch.arange(4), Layout((4,)), True)
    torch.testing.assert_close(grid[:, :5], rows.repeat_interleave(4, 0))
    torch.testing.assert_close(grid[:, 5:], columns.repeat(3, 1))


def test_positions_differ_and_a_varying_sequence_does_not_depend_on_its_batch():
    spec = FourierPositions(bands=4, longest=64)
    short, long = (spec.at(torch.arange(n), Layout((n,)), False) for n in (10, 50))
    assert torch.equal(short, long[:10])
    distances = torch.cdist(long, long) + torch.eye(50)
    assert distances.min() > 0.01


def test_kept_positions_have_the_codes_of_their_places():
    spec = FourierPositions(bands=2)
    places = torch.tensor([[0, 3, 5], [1, 2, 4]])
    kept = Tokens(features=torch.zeros(2, 3, 8), layout=Layout((2, 3)), positions=places)
    whole = Tokens(features=torch.zeros(2, 6, 8), layout=Layout((2, 3)))
    every = spec.of_tokens(whole, True)[0]
    torch.testing.assert_close(spec.of_tokens(kept, True), every[places])


@pytest.mark.parametrize("fields", [{"bands": 0}, {"longest": 1}])
def test_wrong_numbers_are_refused(fields):
    with pytest.raises(SpecError, match=r"FourierPositions\.(bands|longest) must be at least"):
        FourierPositions(**fields)
