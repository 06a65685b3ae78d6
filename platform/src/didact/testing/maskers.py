"""What every masker promises."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from didact.contracts import Masker
from didact.errors import SpecError
from didact.tensors import Corruption, Layout, Mask
from didact.testing.closeness import untouched_randomness
from didact.testing.examples import Case
from didact.testing.rules import NotJudged

DRAWS = 8


def check_shapes(case: Case) -> None:
    """Masks are what `Mask` says, over every layout, and as many for every sample."""
    for layout, masks in _drawn(case):
        for mask in masks:
            check_mask_shapes(mask, layout.positions)
        counts = {mask.predicted.shape[0] for mask in masks}
        assert len(counts) == 1, f"M differs from sample to sample over {layout.shape}: {sorted(counts)}"


def check_prediction(case: Case) -> None:
    """Every mask predicts something, leaves something, and hides nothing for nothing; one position may be refused."""
    for _, masks in _drawn(case):
        for mask in masks:
            check_mask_prediction(mask, hides_more=case.example.hides_more)
    with contextlib.suppress(SpecError):  # one position can only be wholly hidden or not at all
        single = case.spec.sample(Layout((1,)), generator=torch.Generator().manual_seed(0))
        check_mask_prediction(single, hides_more=case.example.hides_more)


def check_determinism(case: Case) -> None:
    """The same generator gives the same masks, and nothing else is drawn from."""
    for layout, masks in _drawn(case):
        for seed, mask in enumerate(masks):
            with untouched_randomness(f"sample over {layout.shape}"):
                again = _draw(case.spec, layout, seed)
            assert _same(mask, again), f"two masks over {layout.shape} from generators of seed {seed} differ"


def check_difference(case: Case) -> None:
    """Other generators give other masks."""
    if not case.example.draws:
        raise NotJudged("the example says draws=False")
    for layout, masks in _drawn(case):
        same = all(_same(masks[0], mask) for mask in masks[1:])
        assert not same, f"{len(masks)} generators gave one and the same mask over {layout.shape}"


def check_equalization(case: Case) -> None:
    """`Masker.equalize` gives as many masks as it got, and follows from its generator."""
    for layout, masks in _drawn(case):
        equal, again = (case.spec.equalize(tuple(masks), generator=torch.Generator().manual_seed(7)) for _ in range(2))
        assert len(equal) == len(masks), f"equalize got {len(masks)} masks and gave {len(equal)}"
        for mask, before in zip(equal, masks, strict=True):
            if mask is not before:
                check_mask_shapes(mask, layout.positions)
                check_mask_prediction(mask, hides_more=case.example.hides_more)
        assert all(map(_same, equal, again)), "equalize gives other masks for the same generator"


def check_mask_shapes(mask: Mask, positions: int) -> None:
    """Raises `AssertionError` where one sample's masks over so many positions are not what `Mask` says."""
    predicted, corruption = mask.predicted, mask.corruption
    assert predicted.dtype == torch.bool, f"predicted is bool, not {predicted.dtype}"
    assert corruption.dtype == torch.uint8, f"corruption is uint8, not {corruption.dtype}"
    assert predicted.ndim == 2, f"predicted is (M, T), got {tuple(predicted.shape)}"
    assert predicted.shape[1] == positions, f"predicted is (M, T={positions}), got {tuple(predicted.shape)}"
    assert corruption.shape == predicted.shape, f"corruption is {tuple(corruption.shape)}, not as predicted"
    assert predicted.device.type == "cpu", (
        f"masks are drawn in the loader's workers, on the CPU, not {predicted.device}"
    )
    assert int(corruption.max()) <= max(Corruption), f"corruption is one of Corruption, got {int(corruption.max())}"
    if bool((corruption == Corruption.REPLACE).any()):
        assert mask.replacement is not None, "replaced positions come with random numbers"
        assert mask.replacement.dtype == torch.int64, f"replacement is int64, not {mask.replacement.dtype}"
        assert mask.replacement.shape == predicted.shape, "replacement has the shape of predicted"
        assert int(mask.replacement.min()) >= 0, "replacement numbers are not negative"


def check_mask_prediction(mask: Mask, *, hides_more: bool = False) -> None:
    """Raises `AssertionError` where masks predict nothing, leave nothing, or, unless they may, lose something."""
    predicted, corruption = mask.predicted, mask.corruption
    hidden = (corruption == Corruption.HIDE) | (corruption == Corruption.DROP)
    positions = predicted.shape[1]
    short = "raise a SpecError for a layout too short for the settings"
    assert bool(predicted.any(1).all()), f"a mask over {positions} positions predicts nothing: {short}"
    assert not bool(hidden.all(1).any()), f"a mask over {positions} positions hides everything: {short}"
    lost = bool((hidden & ~predicted).any())
    assert hides_more or not lost, "a position is hidden or dropped and not predicted: lost for nothing"


def _drawn(case: Case) -> Iterator[tuple[Layout, list[Mask]]]:
    for layout in case.example.layouts:
        yield layout, [_draw(case.spec, layout, seed) for seed in range(DRAWS)]


def _draw(masker: Masker, layout: Layout, seed: int) -> Mask:
    return masker.sample(layout, generator=torch.Generator().manual_seed(seed))


def _same(one: Mask, other: Mask) -> bool:
    same = torch.equal(one.predicted, other.predicted) and torch.equal(one.corruption, other.corruption)
    if one.replacement is None or other.replacement is None:
        return same and one.replacement is other.replacement
    return same and torch.equal(one.replacement, other.replacement)
