"""The rules that every masker must follow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from didact.contracts.network import Masker
from didact.errors import SpecError
from didact.tensors import Corruption, Layout, Mask
from didact_kit.closeness import untouched_randomness
from didact_kit.examples import Case
from didact_kit.rules import NotJudged

DRAWS = 8


def check_shapes(case: Case) -> None:
    """Checks that masks have the shapes and types of `Mask` over every layout, and one number of masks per sample."""
    for layout, masks in _drawn(case):
        for mask in masks:
            check_mask_shapes(mask, layout.positions)
        counts = {mask.predicted.shape[0] for mask in masks}
        assert len(counts) == 1, f"M differs from sample to sample over {layout.shape}: {sorted(counts)}"


def check_declaration(case: Case) -> None:
    """Checks that masks do what `Masker.masking` declares."""
    declared, done = case.spec.masking, set[Corruption]()
    contexts = declared.contexts if declared.contexts is not None else declared.masks
    for layout, masks in _drawn(case):
        equal = case.spec.equalize(tuple(masks), generator=torch.Generator().manual_seed(7))
        for mask in (*masks, *equal):
            found = (mask.predicted.shape[0], mask.corruption.shape[0])
            assert found == (declared.masks, contexts), (
                f"masking declares M={declared.masks} and C={contexts}, and there are M={found[0]} and C={found[1]}"
            )
            used = {Corruption(kind) for kind in set(mask.corruption.flatten().tolist())} - {Corruption.NONE}
            extra = ", ".join(kind.name.lower() for kind in sorted(used - declared.corruptions))
            assert not extra, f"positions over {layout.shape} have a corruption that masking does not declare: {extra}"
            done |= used
    idle = ", ".join(kind.name.lower() for kind in sorted(declared.corruptions - {Corruption.NONE} - done))
    assert not idle, f"masking declares a corruption that no mask has: {idle}"


def check_prediction(case: Case) -> None:
    """Checks that every mask predicts some positions, leaves some, and hides only predicted ones."""
    for _, masks in _drawn(case):
        for mask in masks:
            check_mask_prediction(mask, hides_more=case.example.hides_more)
    with contextlib.suppress(SpecError):  # of one position, a mask hides all or nothing
        single = case.spec.sample(Layout((1,)), generator=torch.Generator().manual_seed(0))
        check_mask_prediction(single, hides_more=case.example.hides_more)


def check_determinism(case: Case) -> None:
    """Checks that masks depend only on the generator."""
    before = _numbers(case.spec)
    for layout, masks in _drawn(case):
        moved = [name for name, value in _numbers(case.spec).items() if value != before.get(name)]
        assert not moved, f"drawing masks over {layout.shape} changes {moved[0]} of its class"
        for seed, mask in enumerate(masks):
            for _ in range(DRAWS if seed == 0 else 1):  # a counter of a small period shows within so many draws
                with untouched_randomness(f"sample over {layout.shape}"):
                    again = _draw(case.spec, layout, seed)
                assert _same(mask, again), f"two masks over {layout.shape} from generators of seed {seed} differ"


def check_difference(case: Case) -> None:
    """Checks that other generators give other masks."""
    if not case.example.draws:
        raise NotJudged("the example says draws=False")
    for layout, masks in _drawn(case):
        same = all(_same(masks[0], mask) for mask in masks[1:])
        assert not same, f"{len(masks)} generators give the same mask over {layout.shape}"


def check_equalization(case: Case) -> None:
    """Checks that `Masker.equalize` returns one mask for each given mask, and depends only on its generator."""
    for layout, masks in _drawn(case):
        equal, again = (case.spec.equalize(tuple(masks), generator=torch.Generator().manual_seed(7)) for _ in range(2))
        assert len(equal) == len(masks), f"equalize is given {len(masks)} masks and returns {len(equal)}"
        for mask, before in zip(equal, masks, strict=True):
            if mask is not before:
                check_mask_shapes(mask, layout.positions)
                check_mask_prediction(mask, hides_more=case.example.hides_more)
        assert all(map(_same, equal, again)), "two calls of equalize with the same generator give different masks"


def check_mask_shapes(mask: Mask, positions: int) -> None:
    """Raises `AssertionError` if a sample's masks do not have the shapes and types of `Mask`."""
    predicted, corruption = mask.predicted, mask.corruption
    assert predicted.dtype == torch.bool, f"predicted must be bool, got {predicted.dtype}"
    assert corruption.dtype == torch.uint8, f"corruption must be uint8, got {corruption.dtype}"
    assert predicted.ndim == 2, f"predicted must be (M, T), got {tuple(predicted.shape)}"
    assert predicted.shape[1] == positions, f"predicted must be (M, T={positions}), got {tuple(predicted.shape)}"
    assert corruption.ndim == 2, f"corruption must be (C, T), got {tuple(corruption.shape)}"
    assert corruption.shape[1] == positions, f"corruption must be (C, T={positions}), got {tuple(corruption.shape)}"
    masks, contexts = predicted.shape[0], corruption.shape[0]
    assert masks % contexts == 0, f"the number of contexts must divide the number of masks, got C={contexts}, M={masks}"
    assert predicted.device.type == "cpu", (
        f"masks must be on the CPU, where the loader's workers draw them, got {predicted.device}"
    )
    assert int(corruption.max()) <= max(Corruption), f"corruption holds {int(corruption.max())}, which is no Corruption"
    if bool((corruption == Corruption.REPLACE).any()):
        assert mask.replacement is not None, "positions are replaced, and replacement is None"
        assert mask.replacement.dtype == torch.int64, f"replacement must be int64, got {mask.replacement.dtype}"
        assert mask.replacement.shape == corruption.shape, "replacement must have the shape of corruption"
        assert int(mask.replacement.min()) >= 0, "replacement numbers must not be negative"


def check_mask_prediction(mask: Mask, *, hides_more: bool = False) -> None:
    """Raises `AssertionError` if masks predict nothing, leave nothing, or hide what they do not predict."""
    predicted, corruption = mask.predicted, mask.corruption
    hidden = (corruption == Corruption.HIDE) | (corruption == Corruption.DROP)
    positions = predicted.shape[1]
    short = "raise a SpecError for a layout too short for the settings"
    assert bool(predicted.any(1).all()), f"a mask over {positions} positions predicts nothing: {short}"
    assert not bool(hidden.all(1).any()), f"a mask over {positions} positions hides everything: {short}"
    shared = predicted.view(hidden.shape[0], -1, positions).any(1)  # (M, T) -> (C, T)
    lost = bool((hidden & ~shared).any())
    assert hides_more or not lost, "a position is hidden or dropped and not predicted"


def _drawn(case: Case) -> Iterator[tuple[Layout, list[Mask]]]:
    for layout in case.example.layouts:
        yield layout, [_draw(case.spec, layout, seed) for seed in range(DRAWS)]


def _draw(masker: Masker, layout: Layout, seed: int) -> Mask:
    return masker.sample(layout, generator=torch.Generator().manual_seed(seed))


def _numbers(masker: Masker) -> dict[str, float]:
    """The numbers in the attributes of a masker's class."""
    return {name: value for name, value in vars(type(masker)).items() if isinstance(value, (int, float))}


def _same(one: Mask, other: Mask) -> bool:
    same = torch.equal(one.predicted, other.predicted) and torch.equal(one.corruption, other.corruption)
    if one.replacement is None or other.replacement is None:
        return same and one.replacement is other.replacement
    return same and torch.equal(one.replacement, other.replacement)
