"""Maskers of patches, tested against the papers and the released code."""

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didact import Layout, Mask, SpecError
from didact.tensors import Corruption
from didact_kit import tiny_preflight
from didact_vision import BlockMasker, InverseBlockMasker, RandomMasker

VIT = Layout((14, 14))


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counts(masker: BlockMasker | InverseBlockMasker | RandomMasker, layout: Layout, draws: int) -> torch.Tensor:
    generator = chance()
    return torch.cat([masker.sample(layout, generator=generator).predicted.sum(1) for _ in range(draws)]).float()


def check_form(mask: Mask, masks: int, layout: Layout, corruption: Corruption) -> None:
    assert mask.predicted.shape == mask.corruption.shape == (masks, layout.positions)
    assert mask.predicted.dtype == torch.bool
    assert mask.corruption.dtype == torch.uint8
    assert torch.equal(mask.corruption == corruption, mask.predicted)
    assert torch.equal(mask.corruption == Corruption.NONE, ~mask.predicted)


grids = st.tuples(st.integers(1, 20), st.integers(1, 20)).map(Layout)
ratios = st.integers(1, 99).map(lambda percent: percent / 100)


@given(layout=grids, ratio=ratios, masks=st.integers(1, 5), seed=st.integers(0, 2**32), hide=st.booleans())
def test_random_masks_keep_exactly_the_share_rounded_down(layout, ratio, masks, seed, hide):
    masker = RandomMasker(ratio=ratio, masks=masks, corruption="hide" if hide else "drop")
    kept = math.floor(round(layout.positions * (1 - ratio), 6))
    if kept == 0:
        with pytest.raises(SpecError, match="mask everything"):
            masker.sample(layout, generator=chance(seed))
        return
    mask = masker.sample(layout, generator=chance(seed))
    check_form(mask, masks, layout, Corruption.HIDE if hide else Corruption.DROP)
    assert ((~mask.predicted).sum(1) == kept).all()


@given(
    layout=grids,
    ratio=ratios,
    masks=st.integers(1, 5),
    block=st.integers(1, 6),
    adjust=st.floats(0, 0.5),
    seed=st.integers(0, 2**32),
)
def test_inverse_block_masks_keep_exactly_the_share_rounded_down(layout, ratio, masks, block, adjust, seed):
    masker = InverseBlockMasker(ratio=ratio, masks=masks, block=block, adjust=adjust)
    kept = math.floor(round(layout.positions * (1 - ratio), 6))
    if kept == 0 or block > min(layout.shape):
        with pytest.raises(SpecError):
            masker.sample(layout, generator=chance(seed))
        return
    mask = masker.sample(layout, generator=chance(seed))
    check_form(mask, masks, layout, Corruption.DROP)
    assert ((~mask.predicted).sum(1) == kept).all()


@given(
    layout=st.tuples(st.integers(3, 20), st.integers(3, 20)).map(Layout),
    ratio=st.integers(10, 90).map(lambda percent: percent / 100),
    seed=st.integers(0, 2**32),
)
def test_block_masks_never_hide_more_than_their_share_nor_nothing(layout, ratio, seed):
    masker = BlockMasker(ratio=ratio, masks=2, min_area=1)
    most = math.ceil(round(layout.positions * ratio, 6))
    if most == layout.positions:
        with pytest.raises(SpecError, match="would mask everything"):
            masker.sample(layout, generator=chance(seed))
        return
    mask = masker.sample(layout, generator=chance(seed))
    check_form(mask, 2, layout, Corruption.HIDE)
    hidden = mask.predicted.sum(1)
    assert (hidden >= 1).all()
    assert (hidden <= most).all()


@given(seed=st.integers(0, 2**32))
def test_the_same_generator_gives_the_same_masks_and_another_gives_others(seed):
    for masker in (RandomMasker(masks=2), BlockMasker(masks=2), InverseBlockMasker(masks=2)):
        first, again, other = (masker.sample(VIT, generator=chance(s)).predicted for s in (seed, seed, seed + 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first[0], first[1])


def test_released_settings_keep_as_many_patches_as_the_releases_do():
    assert (~RandomMasker().sample(VIT, generator=chance()).predicted).sum() == 49  # MAE
    for masker, layout, kept in (
        (InverseBlockMasker(), VIT, 39),  # data2vec 2.0 base: 39.2 rounded down
        (InverseBlockMasker(ratio=0.75, adjust=0.1), VIT, 49),  # large
        (InverseBlockMasker(ratio=0.75, adjust=0.1), Layout((16, 16)), 64),  # huge, patches of 14
    ):
        mask = masker.sample(layout, generator=chance())
        assert mask.predicted.shape[0] == 16
        assert ((~mask.predicted).sum(1) == kept).all()


def test_random_masks_hide_every_position_equally_often():
    share = torch.stack([RandomMasker(masks=8).sample(VIT, generator=chance(s)).predicted for s in range(500)])
    share = share.float().mean((0, 1))  # (T,) over 4 000 masks
    assert (share - 0.75).abs().max() < 5 * math.sqrt(0.75 * 0.25 / 4_000)


def test_block_masks_hide_as_many_patches_as_beit_does():
    # the figures that the reference measured of the released code: mean 119.5, 120 in 70 % of masks, never below 109
    hidden = counts(BlockMasker(), VIT, 2_000)
    assert abs(hidden.mean() - 119.5) < 0.15
    assert abs((hidden == 120).float().mean() - 0.7) < 0.05
    assert hidden.max() == 120
    assert hidden.min() >= 105


def test_block_masks_are_distributed_as_those_of_algorithm_1():
    masks = torch.stack([BlockMasker().sample(VIT, generator=chance(s)).predicted[0] for s in range(3_000)])
    rng = random.Random(0)
    expected = torch.stack([algorithm_1(rng, 14, 120) for _ in range(3_000)])
    # each patch is hidden equally often, and so is each pair of neighbours: sizes, shapes and places of blocks agree
    assert (masks.float().mean(0) - expected.float().mean(0)).abs().max() < 0.06
    assert abs(neighbours_alike(masks) - neighbours_alike(expected)) < 0.006
    assert abs(masks.float().sum(1).mean() - expected.float().sum(1).mean()) < 0.15


def test_a_first_block_that_is_hard_to_place_is_tried_until_it_fits():
    # 16 patches or more in a grid of 5 × 5: nearly every attempt is too high or too wide
    masker = BlockMasker(ratio=0.8, min_area=16)
    for seed in range(50):
        assert masker.sample(Layout((5, 5)), generator=chance(seed)).predicted.any()


def test_inverse_blocks_are_stamped_around_their_centres_and_clamped_at_borders():
    # one block, and as many patches kept as it has: where it lies inside, exactly the block stays
    masker = InverseBlockMasker(ratio=1 - 9 / 49, masks=200, block=3, adjust=0.0)
    kept = ~masker.sample(Layout((7, 7)), generator=chance()).predicted  # (M, T)
    shapes = [mask.reshape(7, 7).nonzero() for mask in kept]
    whole = [s for s in shapes if (s.max(0).values - s.min(0).values + 1).tolist() == [3, 3]]
    # 25 of 49 centres lie inside; a clamped one is cut, and single patches elsewhere make up for it
    assert abs(len(whole) / 200 - 25 / 49) < 0.12


def test_inverse_blocks_are_distributed_as_the_released_ones():
    # §2.5: 5 centres with replacement, 3 × 3 stamps, clamped; then single flips to exactly 39
    masks = ~InverseBlockMasker(masks=4_000).sample(VIT, generator=chance()).predicted
    rng = random.Random(0)
    expected = torch.stack([inverse_blocks(rng, 14, 5, 3, 39) for _ in range(4_000)])
    assert (masks.float().mean(0) - expected.float().mean(0)).abs().max() < 0.05
    assert abs(neighbours_alike(masks) - neighbours_alike(expected)) < 0.004


@pytest.mark.parametrize("masker", [BlockMasker(), InverseBlockMasker()])
def test_blocks_need_a_grid(masker):
    with pytest.raises(SpecError, match=r"masks blocks of a grid, but the layout of the samples is \(49,\)"):
        masker.sample(Layout((49,)), generator=chance())


def test_random_masks_do_for_sequences_too():
    mask = RandomMasker(ratio=0.5).sample(Layout((49,)), generator=chance())
    assert mask.predicted.sum() == 25


def test_a_block_larger_than_the_grid_is_an_error_that_names_both():
    with pytest.raises(SpecError, match="at most the grid's shorter side, 2, got 3"):
        InverseBlockMasker(ratio=0.5).sample(Layout((2, 9)), generator=chance())


def test_a_grid_in_which_no_block_fits_is_an_error():
    with pytest.raises(SpecError, match=r"no block of 16 patches or more.*3 × 3") as error:
        BlockMasker().sample(Layout((3, 3)), generator=chance())
    assert "min_area" in error.value.hint


@pytest.mark.parametrize("masker", [BlockMasker, InverseBlockMasker, RandomMasker])
@pytest.mark.parametrize(
    ("changes", "message"),
    [({"ratio": 0.0}, "above 0 and below 1"), ({"ratio": 1.0}, "above 0 and below 1"), ({"masks": 0}, "at least 1")],
)
def test_ratios_that_hide_all_or_nothing_are_refused_where_they_are_written(masker, changes, message):
    with pytest.raises(SpecError, match=message):
        masker(**changes)


def test_a_ratio_too_high_for_a_small_image_says_what_to_change():
    with pytest.raises(SpecError, match=r"would mask everything of a sample of 4 positions \(2, 2\)") as error:
        RandomMasker(ratio=0.8).sample(Layout((2, 2)), generator=chance())
    assert "lower the ratio" in error.value.hint


def neighbours_alike(masks: torch.Tensor) -> float:
    """How often a patch and its right neighbour share a fate; masks (N, 196) bool."""
    grid = masks.reshape(-1, 14, 14)
    return (grid[:, :, 1:] == grid[:, :, :-1]).float().mean().item()


def algorithm_1(rng: random.Random, side: int, count: int) -> torch.Tensor:
    """BEiT's mask as the paper and its code have it, written plainly: (side²,) bool."""
    hidden = [[False] * side for _ in range(side)]
    done = 0
    while done < count:
        placed = 0
        for _ in range(10):
            area = rng.uniform(16, count - done)
            aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h >= side or w >= side:
                continue
            top, left = rng.randint(0, side - h), rng.randint(0, side - w)
            cells = [(y, x) for y in range(top, top + h) for x in range(left, left + w) if not hidden[y][x]]
            if 0 < len(cells) <= count - done:
                for y, x in cells:
                    hidden[y][x] = True
                placed = len(cells)
                break
        if placed == 0:
            break
        done += placed
    return torch.tensor(hidden).flatten()


def inverse_blocks(rng: random.Random, side: int, centres: int, block: int, kept: int) -> torch.Tensor:
    """The patches that data2vec 2.0 keeps, written plainly: (side²,) bool."""
    cells = set()
    for _ in range(centres):
        y, x = divmod(rng.randrange(side * side), side)
        for dy in range(block):
            for dx in range(block):
                row = min(max(y + dy - block // 2, 0), side - 1)
                cells.add(row * side + min(max(x + dx - block // 2, 0), side - 1))
    while len(cells) > kept:
        cells.remove(rng.choice(sorted(cells)))
    while len(cells) < kept:
        cells.add(rng.choice([cell for cell in range(side * side) if cell not in cells]))
    return torch.tensor([cell in cells for cell in range(side * side)])


@pytest.mark.parametrize(
    ("masker", "layout", "severity"),
    [
        (InverseBlockMasker(), VIT, "fine"),
        (InverseBlockMasker(ratio=0.8, block=3), Layout((5, 5)), "warning"),
        (BlockMasker(), VIT, "fine"),
        (BlockMasker(min_area=16), Layout((7, 7)), "warning"),
    ],
)
def test_blocks_that_are_large_for_the_grid_are_warned_of(masker, layout, severity):
    (found,) = masker.examine(tiny_preflight(layout))
    assert found.severity == severity
    assert f"{layout.shape[0]} × {layout.shape[1]} patches" in found.says


def test_a_masker_of_blocks_cannot_be_used_on_a_sequence():
    for masker in (BlockMasker(), InverseBlockMasker()):
        with pytest.raises(SpecError, match="blocks of a grid"):
            list(masker.examine(tiny_preflight(Layout((30,)))))
