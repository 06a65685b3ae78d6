"""What every target builder promises."""

from __future__ import annotations

import copy

import torch

from didact.contracts import TargetBuilder
from didact.learner import Network
from didact.tensors import Batch, StudentPass, Target
from didact.testing.closeness import assert_close, assert_finite
from didact.testing.tiny import TinyMasker, tiny_batch, tiny_network


def check_target_builder(
    builder: TargetBuilder,
    network: Network | None = None,
    batch: Batch | None = None,
    *,
    sees_mask: bool = False,
) -> None:
    """Builds targets of a batch.

    Args:
        builder: to check.
        network: the student; tiny by default.
        batch: with masks, that the network can read; tiny by default.
        sees_mask: whether the method's targets depend on the student's mask.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    network = copy.deepcopy(network if network is not None else tiny_network())
    batch = batch if batch is not None else tiny_batch(masker=TinyMasker())
    module = builder.build(network)
    assert isinstance(module.width, int), "width is a number"
    passes = tuple(network(view) for view in batch.views)
    targets = module(passes, network)
    assert len(targets) >= 1, "there is something to predict"
    for target in targets:
        _check_target(target, passes, batch.ids.shape[0], module.width)
    again = module(passes, network)
    assert len(again) == len(targets), "the same passes give as many targets"
    scalars = module.after_step(network, 1)
    assert all(isinstance(value, float) for value in scalars.values()), "after_step logs numbers"
    assert isinstance(module.subject(network), Network), "subject is a network that can be judged"
    if not sees_mask:
        other = tuple(network(view) for view in tiny_batch(masker=TinyMasker(masks=2)).views)
        if len(other) == len(passes) and other[0].tokens.features.shape == passes[0].tokens.features.shape:
            for one, two in zip(module(passes, network), module(other, network), strict=True):
                assert_close(_real(one, passes), _real(two, passes), "targets do not depend on what the student sees")


def _check_target(target: Target, passes: tuple[StudentPass, ...], samples: int, width: int) -> None:
    assert 0 <= target.view < len(passes), f"a target names one of the {len(passes)} views, got {target.view}"
    positions = passes[target.view].view.layout.positions
    values = target.values
    leading = (samples, positions) if target.level == "position" else (samples,)
    if values.is_floating_point():
        expected = (*leading, width)
        assert tuple(values.shape) == expected, f"values are {expected}, got {tuple(values.shape)}"
        assert_finite(values, "targets are finite")
    else:
        assert values.dtype == torch.int64, f"ids are int64, got {values.dtype}"
        assert tuple(values.shape) == leading, f"values are {leading}, got {tuple(values.shape)}"
        assert int(values.min()) >= 0, "ids are not negative"
        assert int(values.max()) < width, f"ids are below width, {width}"


def _real(target: Target, passes: tuple[StudentPass, ...]) -> torch.Tensor:
    """A target's values without padding: (B, T, D) or (B, D), zero there."""
    padding = passes[target.view].view.padding
    values = target.values.float()
    if padding is None or target.level == "sample":
        return values
    return values.masked_fill(padding.reshape(*padding.shape, *[1] * (values.ndim - 2)), 0)
