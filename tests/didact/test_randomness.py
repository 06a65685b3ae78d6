"""Random numbers derived from keys."""

from __future__ import annotations

import torch

from didact.randomness import key, uniform

SPLITMIX64 = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821)


def test_they_are_those_of_splitmix64():
    """The published sequence that begins at 1234567."""
    (numbers,) = uniform(torch.tensor([1234567]), 5).tolist()
    assert numbers == [(number >> 40) / 2**24 for number in SPLITMIX64]


def test_a_samples_numbers_do_not_depend_on_the_others():
    keys = torch.tensor([key(0, "step", 0, index) for index in range(8)])
    whole = uniform(keys, 4)
    assert torch.equal(torch.cat([uniform(keys[row : row + 1], 4) for row in range(8)]), whole)
    assert torch.equal(uniform(keys, 9)[:, :4], whole)
    assert len(whole.unique()) == 32


def test_they_are_even_and_tell_nothing_of_each_other():
    keys = torch.tensor([key(0, "step", 0, index) for index in range(4000)])
    numbers = uniform(keys, 6)
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    share = torch.histc(numbers, bins=10, min=0, max=1) / numbers.numel()
    torch.testing.assert_close(share, torch.full((10,), 0.1), atol=0.01, rtol=0)
    related = torch.corrcoef(numbers.T) - torch.eye(6)
    assert float(related.abs().max()) < 0.06
