"""Comparing tensors, and watching the global random state that no part may touch."""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 2e-5  # float32 sums in another order


def assert_close(actual: Tensor, expected: Tensor, promise: str, tolerance: float = TOLERANCE) -> None:
    """Raises an `AssertionError` that quotes the promise and the largest difference.

    Args:
        actual: (*) any shape.
        expected: (*) the same shape.
        promise: what the contract says.
        tolerance: largest difference allowed.
    """
    assert actual.shape == expected.shape, f"{promise}: shapes {tuple(actual.shape)} and {tuple(expected.shape)}"
    if actual.numel() == 0:
        return
    difference = float((actual.detach().double() - expected.detach().double()).abs().max())
    assert difference <= tolerance, f"{promise}: values differ by up to {difference:.3g}"


def assert_finite(values: Tensor, promise: str) -> None:
    """Raises an `AssertionError` where ``values`` (any shape) are not all finite."""
    assert bool(values.isfinite().all()), f"{promise}: {int((~values.isfinite()).sum())} values are not finite"


@contextlib.contextmanager
def untouched_randomness(promise: str) -> Iterator[None]:
    """Asserts that nothing inside the ``with`` draws from the global generators of torch, numpy and Python."""
    of_torch, of_numpy, of_python = torch.get_rng_state(), pickle.dumps(np.random.get_state()), random.getstate()
    yield
    assert torch.equal(of_torch, torch.get_rng_state()), f"{promise}: torch's global generator was used"
    assert of_numpy == pickle.dumps(np.random.get_state()), f"{promise}: numpy's global generator was used"
    assert of_python == random.getstate(), f"{promise}: Python's global generator was used"
