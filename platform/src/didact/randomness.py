"""Randomness as a function of where it is used.

Every generator is keyed: by the run's seed, by what it is for, and by the step and sample it serves. So nothing random
depends on the process, the worker, a restart, or how a batch is split.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch

common = torch.Generator()  # for draws that all processes of a run must make alike; seeded anew for every step


def key(seed: int, *parts: str | int) -> int:
    """A 63-bit seed for one use: the same parts, the same seed; any other part, an unrelated one."""
    text = "\0".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *parts: str | int) -> torch.Generator:
    """A CPU generator for one use; see `key`."""
    return torch.Generator().manual_seed(key(seed, *parts))


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seeds all that a training step draws globally: PyTorch's generators, each process's its own, and `common`."""
    torch.manual_seed(key(seed, "dropout", step, rank))
    common.manual_seed(key(seed, "common", step))


@contextlib.contextmanager
def seeded(seed: int, *parts: str | int) -> Iterator[None]:
    """Seeds PyTorch's global generators inside the ``with`` and restores the CPU's afterwards.

    For what PyTorch draws globally and nothing else: initialisation and dropout.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, *parts))
        yield
