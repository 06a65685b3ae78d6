"""Random generators, numbers and permutations that are functions of their use.

Each of them is keyed by the run's seed, its purpose, and the step and sample that use it. Random numbers therefore
do not depend on the process, the worker, a restart, or how a batch is split.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

SHUFFLED = 4096  # up to this size, a permutation is an array of at most 32 KiB
ROUNDS = 10  # as many as FF1, the Feistel network of NIST SP 800-38G

common = torch.Generator()  # for draws that must be equal on all processes of a run; seeded anew for every step


def key(seed: int, *parts: str | int) -> int:
    """Returns a 63-bit seed for one use: equal parts give equal seeds, different parts give unrelated seeds."""
    text = "\0".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *parts: str | int) -> torch.Generator:
    """Returns a CPU generator for one use; see `key`."""
    return torch.Generator().manual_seed(key(seed, *parts))


def uniform(keys: Tensor, count: int) -> Tensor:
    """Draws uniform numbers that depend only on each sample's key: the output of SplitMix64 seeded with the key.

    Use this function to draw for a whole batch at once, where one generator per sample would be slow. Steele, Lea &
    Flood 2014, Fast splittable pseudorandom number generators, figures 16 and 19, with Stafford's variant 13.

    Args:
        keys: (B,) int64, on the CPU; see `View.keys`.
        count: P, the number of draws per sample.

    Returns:
        (B, P) float32 in [0, 1), on the CPU.
    """
    words = _splitmix64(keys.numpy().astype(np.uint64)[:, None], np.arange(count))  # (B, P)
    return torch.from_numpy((words >> np.uint64(40)).astype(np.float32) / np.float32(2**24))


def permute(positions: np.ndarray, count: int, key: int) -> np.ndarray:
    """Returns the numbers (P,) int64 at some positions (P,) of a random permutation of 0 to ``count`` - 1.

    The permutation depends on the key; no array grows with ``count``. Up to `SHUFFLED` numbers are sorted by random
    words, so that all permutations are equally likely. More numbers are enciphered by a Feistel network whose halves
    are the two digits of a number in base √count; a result of ``count`` or more is enciphered again. Black & Rogaway
    2002, Ciphers with arbitrary finite domains, methods 1 to 3.
    """
    if count <= SHUFFLED:
        return np.argsort(_splitmix64(np.uint64(key), np.arange(count)), kind="stable").take(positions)
    rows = math.isqrt(count - 1) + 1  # √count, rounded up
    columns = math.ceil(count / rows)
    numbers, again = positions.astype(np.uint64), np.arange(len(positions))
    while len(again):  # rows · columns exceeds count by less than √count, so few numbers are enciphered again
        left, right = np.divmod(numbers[again], np.uint64(columns))
        for even, odd in _splitmix64(np.uint64(key), np.arange(ROUNDS)).reshape(-1, 2):
            # the shift leaves room for the sum; a sum modulo 2⁶⁴ would not be invertible
            left = (left + (_splitmix64(even, right) >> np.uint64(1))) % np.uint64(rows)
            right = (right + (_splitmix64(odd, left) >> np.uint64(1))) % np.uint64(columns)
        numbers[again] = left * np.uint64(columns) + right
        again = again[numbers[again] >= count]
    return numbers.astype(np.int64)


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seeds a training step: PyTorch's global generators differently on each process, `common` equally on all."""
    torch.manual_seed(key(seed, "dropout", step, rank))
    common.manual_seed(key(seed, "common", step))


@contextlib.contextmanager
def seeded(seed: int, *parts: str | int) -> Iterator[None]:
    """Seeds PyTorch's global generators inside the ``with`` block and restores the CPU's generator afterwards.

    Use this only for what PyTorch draws from its global generators: initialisation and dropout.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, *parts))
        yield


def _splitmix64(seed: np.ndarray | np.uint64, turns: np.ndarray) -> np.ndarray:
    """Returns some outputs of SplitMix64, numbered from 0; all numbers are modulo 2⁶⁴."""
    state = seed + (turns.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
