"""What every masker promises."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch

from didact.contracts import Masker
from didact.errors import SpecError
from didact.tensors import Corruption, Layout, Mask
from didact.testing.closeness import untouched_randomness


def check_masker(masker: Masker, layouts: Sequence[Layout], draws: int = 8) -> None:
    """Draws masks over several layouts and checks each.

    Args:
        masker: to check.
        layouts: that it must serve.
        draws: masks to draw over each.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    for layout in layouts:
        drawn = []
        for seed in range(draws):
            with untouched_randomness("a masker draws from its generator alone"):
                mask = masker.sample(layout, generator=torch.Generator().manual_seed(seed))
            check_mask(mask, layout.positions)
            again = masker.sample(layout, generator=torch.Generator().manual_seed(seed))
            assert _same(mask, again), "the same generator gives the same mask"
            drawn.append(mask)
        assert len({mask.predicted.shape[0] for mask in drawn}) == 1, "every sample gets the same number of masks, M"
        generators = [torch.Generator().manual_seed(7) for _ in range(2)]
        equal = masker.equalize(tuple(drawn), generator=generators[0])
        assert len(equal) == len(drawn), "equalize gives as many masks as it got"
        for mask in equal:
            check_mask(mask, layout.positions)
        again_equal = masker.equalize(tuple(drawn), generator=generators[1])
        assert all(map(_same, equal, again_equal)), "equalize follows from its generator"
    _check_tiny(masker)


def check_mask(mask: Mask, positions: int) -> None:
    """Checks one sample's masks over so many positions.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    predicted, corruption = mask.predicted, mask.corruption
    assert predicted.dtype == torch.bool, f"predicted is bool, not {predicted.dtype}"
    assert corruption.dtype == torch.uint8, f"corruption is uint8, not {corruption.dtype}"
    assert predicted.ndim == 2, f"predicted is (M, T), got {tuple(predicted.shape)}"
    assert predicted.shape[1] == positions, f"predicted is (M, T={positions}), got {tuple(predicted.shape)}"
    assert corruption.shape == predicted.shape, "corruption has the shape of predicted"
    assert predicted.device.type == "cpu", "masks are drawn on the CPU, in the loader's workers"
    assert bool(predicted.any(1).all()), "every mask predicts something"
    hidden = (corruption == Corruption.HIDE) | (corruption == Corruption.DROP)
    assert not bool(hidden.all(1).any()), "no mask hides everything"
    assert not bool((hidden & ~predicted).any()), "what is hidden or dropped is predicted, else it is lost for nothing"
    assert int(corruption.max()) <= max(Corruption), "corruption is one of Corruption"
    if bool((corruption == Corruption.REPLACE).any()):
        assert mask.replacement is not None, "replaced positions come with random numbers"
        assert mask.replacement.dtype == torch.int64, "replacement is int64"
        assert mask.replacement.shape == predicted.shape, "replacement has the shape of predicted"
        assert int(mask.replacement.min()) >= 0, "replacement numbers are not negative"


def _check_tiny(masker: Masker) -> None:
    """One position can only be wholly hidden or not at all."""
    with contextlib.suppress(SpecError):
        check_mask(masker.sample(Layout((1,)), generator=torch.Generator().manual_seed(0)), 1)


def _same(one: Mask, other: Mask) -> bool:
    same = torch.equal(one.predicted, other.predicted) and torch.equal(one.corruption, other.corruption)
    if one.replacement is None or other.replacement is None:
        return same and one.replacement is other.replacement
    return same and torch.equal(one.replacement, other.replacement)
