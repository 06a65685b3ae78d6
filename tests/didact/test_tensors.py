"""Batch masks collated from samples' masks, tested against the definitions at single positions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didact import BackboneOutput, Batch, BatchMask, Corruption, Layout, Mask, Tokens, View
from didact.tensors import mean_over_positions, move


@st.composite
def samples_of_masks(draw) -> list[Mask]:
    """Masks of a few samples of uneven length: every corruption, whether predicted or not."""
    m = draw(st.integers(1, 3))
    masks = []
    for t in draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)):
        corruption = torch.tensor(
            draw(st.lists(st.lists(st.integers(0, 3), min_size=t, max_size=t), min_size=m, max_size=m))
        )
        predicted = torch.tensor(
            draw(st.lists(st.lists(st.booleans(), min_size=t, max_size=t), min_size=m, max_size=m))
        )
        corruption[:, 0] = Corruption.NONE  # a row always holds something
        replacement = torch.arange(m * t).reshape(m, t) if draw(st.booleans()) else None
        if replacement is None:
            corruption[corruption == Corruption.REPLACE] = Corruption.HIDE
        masks.append(Mask(predicted=predicted, corruption=corruption.to(torch.uint8), replacement=replacement))
    return masks


def joined(masks: list[Mask]) -> tuple[BatchMask, int]:
    longest = max(mask.predicted.shape[1] for mask in masks)
    return BatchMask.collate(masks, longest), longest


@given(samples_of_masks())
def test_indices_name_every_predicted_position_in_order(masks):
    batch, t = joined(masks)
    expected = [
        (b, m, p)
        for b, mask in enumerate(masks)
        for m in range(mask.predicted.shape[0])
        for p in range(mask.predicted.shape[1])
        if mask.predicted[m, p]
    ]
    assert batch.count == len(expected)
    assert batch.target_indices.tolist() == [b * t + p for b, m, p in expected]
    assert batch.mask_indices.tolist() == [(b * batch.masks + m) * t + p for b, m, p in expected]


@given(samples_of_masks())
def test_every_position_is_corrupted_as_its_sample_says(masks):
    batch, _ = joined(masks)
    for b, mask in enumerate(masks):
        length = mask.predicted.shape[1]
        for kind, flags in ((Corruption.HIDE, batch.hidden), (Corruption.REPLACE, batch.replaced)):
            wanted = mask.corruption == kind
            have = torch.zeros_like(wanted) if flags is None else flags[b, :, :length]
            assert torch.equal(have, wanted)
        if batch.replacement is not None and mask.replacement is not None:
            assert torch.equal(batch.replacement[b, :, :length], mask.replacement)


@given(samples_of_masks())
def test_rows_hold_what_was_not_dropped_in_order_then_filler(masks):
    batch, _ = joined(masks)
    held = [
        (mask.corruption[m] != Corruption.DROP).nonzero().flatten().tolist()
        for mask in masks
        for m in range(mask.predicted.shape[0])
    ]
    if batch.visible is None:
        assert all(bool((mask.corruption != Corruption.DROP).all()) for mask in masks)
        return
    assert batch.visible.shape[1] == max(map(len, held))
    for row, positions in enumerate(held):
        assert batch.visible[row, : len(positions)].tolist() == positions
        assert not batch.visible[row, len(positions) :].any()
        filler = [False] * len(positions) + [True] * (batch.visible.shape[1] - len(positions))
        assert (
            batch.visible_padding[row].tolist() if batch.visible_padding is not None else [False] * len(filler)
        ) == filler


@given(samples_of_masks())
def test_nothing_beyond_a_samples_own_positions_is_predicted_or_visible(masks):
    batch, _ = joined(masks)
    for b, mask in enumerate(masks):
        length = mask.predicted.shape[1]
        assert not batch.predicted[b, :, length:].any()
        if batch.visible is not None:
            rows = slice(b * batch.masks, (b + 1) * batch.masks)
            assert int(batch.visible[rows].max()) < length


def test_what_no_mask_does_is_absent_so_that_no_step_pays_for_it():
    predicted = torch.tensor([[True, False, False]])
    hidden = BatchMask.collate([Mask.hide(predicted)], 3)
    assert (hidden.replaced, hidden.replacement, hidden.visible, hidden.visible_padding) == (None, None, None, None)
    dropped = BatchMask.collate([Mask.drop(predicted)], 3)
    assert (dropped.hidden, dropped.visible_padding) == (None, None)
    assert dropped.visible.tolist() == [[1, 2]]


def test_a_batch_moves_whole_but_for_what_the_host_reads():
    view = View(
        content=torch.zeros(2, 4),
        layout=Layout((4,)),
        mask=BatchMask.collate([Mask.hide(torch.tensor([[True, False, False, False]]))] * 2, 4),
        keys=torch.arange(2),
    )
    moved = move(Batch(views=(view, view), ids=torch.arange(2)), torch.device("meta"))
    assert moved.ids.device.type == moved.views[1].keys.device.type == "cpu"
    assert all(view.content.is_meta and view.mask.target_indices.is_meta for view in moved.views)
    assert moved.views[0].padding is None
    assert moved.views[0].layout == Layout((4,))


def test_positions_only_leaves_out_extra_tokens():
    values = torch.arange(6.0).reshape(1, 3, 2)
    tokens = Tokens(features=values, layout=Layout((2,)), num_prefix_tokens=1)
    context = BackboneOutput(output=values, tokens=tokens)
    assert torch.equal(context.positions_only(values), values[:, 1:])


@pytest.mark.parametrize(("shape", "positions"), [((7,), 7), ((3, 5), 15), ((2, 3, 4), 24)])
def test_a_layout_counts_its_positions(shape, positions):
    assert Layout(shape).positions == positions


def test_the_mean_over_positions_knows_nothing_of_padding_whatever_stands_there():
    values = torch.randn(3, 4, 2)
    padding = torch.tensor([[False, False, True, True], [False] * 4, [True] * 4])
    values[0, 2:] = torch.tensor([float("inf"), float("nan")])
    found = mean_over_positions(values, padding)
    torch.testing.assert_close(found[:2], torch.stack([values[0, :2].mean(0), values[1].mean(0)]))
    assert found[2].eq(0).all()
    torch.testing.assert_close(mean_over_positions(values[1:], None), values[1:].mean(1))


def test_random_numbers_that_no_position_needs_are_kept():
    """Whether any position of a batch is replaced must not decide what an objective is given."""
    numbers = torch.arange(4).reshape(1, 4)
    predicted = torch.tensor([[True, False, True, False]])
    hides = Mask(predicted=predicted, corruption=predicted.to(torch.uint8), replacement=numbers)
    assert torch.equal(BatchMask.collate([hides, hides], 4).replacement, numbers.expand(2, 1, 4))
    without = Mask.hide(predicted)
    assert BatchMask.collate([without, hides], 4).replacement[1].tolist() == numbers.tolist()
    assert BatchMask.collate([without, without], 4).replacement is None
