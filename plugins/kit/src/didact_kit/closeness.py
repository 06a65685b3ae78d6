"""Assertions that compare tensors, and that check the global random state, which no part may change."""

from __future__ import annotations

import contextlib
import pickle
import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 2e-5  # float32 sums in another order


def assert_close(actual: Tensor, expected: Tensor, promise: str, tolerance: float = TOLERANCE) -> None:
    """Raises an `AssertionError` that names what is compared and the largest difference.

    Args:
        actual: (*) the actual values, of any shape.
        expected: (*) the expected values, of the same shape.
        promise: a description of what is compared.
        tolerance: the largest allowed difference.
    """
    assert actual.shape == expected.shape, f"{promise}: shapes {tuple(actual.shape)} and {tuple(expected.shape)}"
    if actual.numel() == 0:
        return
    difference = float((actual.detach().double() - expected.detach().double()).abs().max())
    assert difference <= tolerance, f"{promise}: values differ by up to {difference:.3g}"


def assert_finite(values: Tensor, promise: str) -> None:
    """Raises an `AssertionError` if ``values`` (any shape) are not all finite."""
    assert bool(values.isfinite().all()), (
        f"{promise}: {int((~values.isfinite()).sum())} of {values.numel()} values are not finite"
    )


@contextlib.contextmanager
def untouched_randomness(promise: str, *, but_torch: bool = False) -> Iterator[None]:
    """Asserts that the block does not draw from the global generators of torch (unless allowed), numpy and Python."""
    of_torch, of_numpy, of_python = torch.get_rng_state(), pickle.dumps(np.random.get_state()), random.getstate()
    yield
    assert but_torch or torch.equal(of_torch, torch.get_rng_state()), f"{promise}: torch's global generator was used"
    assert of_numpy == pickle.dumps(np.random.get_state()), f"{promise}: numpy's global generator was used"
    assert of_python == random.getstate(), f"{promise}: Python's global generator was used"


def persistent(module: nn.Module) -> dict[str, Tensor]:
    """Returns what a checkpoint stores of a module: its weights and persistent buffers by name, of any shape."""
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}


def statistics(module: nn.Module) -> set[str]:
    """Returns the names of the running statistics of norms, which every pass in training mode moves."""
    found = set[str]()
    for place, each in module.named_modules():
        own = dict(each.named_buffers(recurse=False))
        if {"running_mean", "running_var"} <= own.keys():
            found |= {f"{place}.{name}".lstrip(".") for name in own}
    return found


def assert_states(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], promise: str) -> None:
    """Raises an `AssertionError` if two states, ``name → tensor`` of any shape, differ."""
    for name, value in state.items():
        assert torch.equal(value, expected[name]), f"{promise}: {name} changed"


def attributes(*holders: Any) -> dict[str, Any]:
    """Returns the numbers, lists and queues in the attributes of objects, of modules at any depth, by name."""
    found: dict[str, Any] = {}
    for holder in holders:
        parts = holder.named_modules() if isinstance(holder, nn.Module) else [("", holder)]
        for place, each in parts:
            own = {name: value for name, value in vars(each).items() if isinstance(value, (int, float, list, deque))}
            found |= {f"{type(each).__name__} {place}.{name}".replace(" .", "."): own[name] for name in own}
    return found


def assert_attributes(found: Mapping[str, Any], expected: Mapping[str, Any], promise: str) -> None:
    """Raises an `AssertionError` if two results of `attributes` differ."""
    for name, value in found.items():
        if not _alike(value, expected[name]):
            number = isinstance(value, (int, float))
            one, other = (each if number else len(each) for each in (value, expected[name]))
            what = f"{'is' if number else 'has'} {one} instead of {other}" if one != other else "holds other values"
            raise AssertionError(f"{promise}: the attribute {name} {what}")


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, (list, tuple, deque)) and isinstance(other, (list, tuple, deque)):
        return len(one) == len(other) and all(map(_alike, one, other))
    numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
    return not numbers or one == other or (one != one and other != other)
