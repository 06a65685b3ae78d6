"""Random numbers derived from keys."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from didact import randomness
from didact.randomness import key, permute, uniform

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


# permutations


@pytest.fixture(params=["both ways", "enciphered"])
def way(request, monkeypatch) -> str:
    """As it is, with arrays for few numbers; and the cipher for any count of numbers."""
    if request.param == "enciphered":
        monkeypatch.setattr(randomness, "SHUFFLED", 0)
    return request.param


def whole(count: int, key: int) -> np.ndarray:
    return permute(np.arange(count), count, key)


def keys_of(what: str, count: int) -> list[int]:
    return [key(0, what, index) for index in range(count)]


def require_even(counts: np.ndarray, expected: float | np.ndarray) -> None:
    """Pearson's statistic is as far from its mean as chance puts it: four deviations, above and below."""
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = counts.size - 1
    assert abs(statistic - freedom) < 4 * math.sqrt(2 * freedom), f"{statistic:.1f} at {freedom} degrees of freedom"


def splitmix64(seed: int, number: int) -> int:
    """The published generator's output, number 0 first, in Python's integers."""
    mask = 2**64 - 1
    state = (seed + (number + 1) * 0x9E3779B97F4A7C15) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def place_of(number: int, count: int, key: int) -> int:
    """Deciphers a number, one at a time: the rounds backwards, until the result is a position."""
    rows = math.isqrt(count - 1) + 1
    columns = -(-count // rows)
    while True:
        left, right = divmod(number, columns)
        for turn in reversed(range(10)):
            if turn % 2:
                right = (right - (splitmix64(splitmix64(key, turn), left) >> 1)) % columns
            else:
                left = (left - (splitmix64(splitmix64(key, turn), right) >> 1)) % rows
        number = left * columns + right
        if number < count:
            return number


SIZES = [*range(1, 200), 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097, 10_007, 65_535, 65_536, 65_537, 99_991]


def test_every_number_stands_at_one_position(way):
    for count in SIZES:
        for one in (0, 7, 2**63 - 1):
            assert np.array_equal(np.sort(whole(count, one)), np.arange(count)), (count, one)


@pytest.mark.parametrize("count", [4097, 10**6 + 3, 10**8, 2**31 - 1, 2**31, 2**31 + 1, 2**62])
def test_a_number_leads_back_to_its_position(count):
    positions = np.unique(np.concatenate([np.arange(40), count - 1 - np.arange(40), count // 2 + np.arange(40)]))
    for one in (0, key(0, "back"), 2**63 - 1):
        numbers = permute(positions, count, one)
        assert numbers.dtype == np.int64
        assert [place_of(int(number), count, one) for number in numbers] == positions.tolist()


def test_positions_may_be_asked_for_in_any_company():
    for count in (7, 4096, 4097, 10**5):
        known, asked = whole(count, 5), np.random.default_rng(0).integers(0, count, 300)
        assert np.array_equal(permute(asked, count, 5), known[asked])
        assert permute(np.arange(0), count, 5).tolist() == []


def test_few_numbers_come_in_every_order_equally_often():
    for count, keys in ((2, 2000), (3, 6000), (4, 12_000), (5, 24_000), (6, 36_000)):
        seen = Counter(tuple(whole(count, one).tolist()) for one in keys_of("orders", keys))
        assert len(seen) == math.factorial(count)
        require_even(np.array(list(seen.values())), keys / math.factorial(count))


def test_eight_numbers_come_in_as_many_orders_as_chance_gives():
    keys = math.factorial(8)
    seen = {tuple(whole(8, one).tolist()) for one in keys_of("eight", keys)}
    assert abs(len(seen) / keys - (1 - math.exp(-1))) < 0.01


@pytest.mark.parametrize("count", [50, 4097, 10**8])
def test_a_sample_lands_anywhere_and_apart_from_its_neighbours(way, count):
    columns = -(-count // (math.isqrt(count - 1) + 1))
    # neighbours in the order, and in either digit of the cipher
    positions = np.array([0, 1, columns, columns + 1, count // 2, count - 1])
    landed = np.stack([permute(positions, count, one) for one in keys_of("landing", 4000)])
    bins = landed * 10 // count
    share = np.diff(-(-np.arange(11) * count // 10)) / count  # of each bin
    for column in bins.T:
        require_even(np.bincount(column, minlength=10), len(landed) * share)
    if count > 1000:  # of few, the first takes a noticeable place from the second
        for other in range(1, len(positions)):
            pairs = np.bincount(bins[:, 0] * 10 + bins[:, other], minlength=100)
            require_even(pairs, len(landed) * np.outer(share, share).ravel())


def test_no_order_resembles_another_or_the_plain_one():
    """Fixed points, positions that two epochs share, and neighbours that stay neighbours: one each, two each."""
    count, epochs = 5000, 300
    orders = [np.arange(count), *(whole(count, key(3, "order", epoch)) for epoch in range(epochs))]
    fixed = np.array([np.sum(order == orders[0]) for order in orders[1:]])
    again = np.array([np.sum(one == other) for one, other in itertools.pairwise(orders[1:])])
    beside = np.array([np.sum(np.abs(np.diff(order)) == 1) for order in orders[1:]])
    for found, mean in ((fixed, 1), (again, 1), (beside, 2)):
        assert abs(found.sum() - mean * len(found)) < 4 * math.sqrt(mean * len(found))  # Poisson
    assert abs(np.mean(fixed == 0) - math.exp(-1)) < 4 * math.sqrt(0.23 / epochs)
    related = np.corrcoef(np.stack(orders))
    assert np.abs(related - np.eye(len(orders))).max() < 5.5 / math.sqrt(count)  # of 45,000 pairs


def test_differences_of_neighbours_are_those_of_chance():
    count = 10**5
    columns = -(-count // (math.isqrt(count - 1) + 1))
    for epoch in range(3):
        order = whole(count, key(0, "order", epoch))
        for lag in (1, 2, columns, columns + 1):
            apart = (order[lag:] - order[:-lag]) % count
            require_even(np.bincount(apart * 200 // count, minlength=200), len(apart) / 200)


def test_cycles_are_as_many_as_chance_gives(way):
    """H(n) on average, with a variance of H(n) - H₂(n)."""
    count, found = 500, []
    for one in keys_of("cycles", 400):
        order, left, cycles = whole(count, one).tolist(), set(range(count)), 0
        while left:
            cycles, at = cycles + 1, left.pop()
            while (at := order[at]) in left:
                left.remove(at)
        found.append(cycles)
    mean = sum(1 / n for n in range(1, count + 1))
    variance = mean - sum(1 / n**2 for n in range(1, count + 1))
    assert abs(np.mean(found) - mean) < 4 * math.sqrt(variance / len(found))
    assert 0.7 < np.var(found) / variance < 1.4


def test_keys_have_permutations_of_their_own(way):
    for count in (40, 5000):
        assert len({whole(count, one)[:20].tobytes() for one in [*range(500), *keys_of("own", 500)]}) == 1000
