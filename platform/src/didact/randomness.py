"""Random generators that are functions of their use.

Every generator is keyed by the run's seed, its purpose, and the step and sample that use it. Random numbers therefore
do not depend on the process, the worker, a restart, or how a batch is split.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

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
    turns = np.arange(1, count + 1, dtype=np.uint64)
    state = keys.numpy().astype(np.uint64)[:, None] + turns * np.uint64(0x9E3779B97F4A7C15)  # (B, P), modulo 2⁶⁴
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return torch.from_numpy((state >> np.uint64(40)).astype(np.float32) / np.float32(2**24))


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
