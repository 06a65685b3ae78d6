"""Span masks against a NumPy implementation of the released code's rules, and measured shares."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didact import Corruption, Layout, Mask, SpecError
from didact.randomness import generator
from didact_kit import tiny_preflight
from didact_speech import SpanMasker


def draw(masker: SpanMasker, positions: int, seed: int) -> Mask:
    return masker.sample(Layout((positions,)), generator=generator(seed, "mask"))


def hidden(masker: SpanMasker, positions: int, draws: int) -> np.ndarray:
    """(draws, positions) bool."""
    return np.stack([draw(masker, positions, seed).predicted[0].numpy() for seed in range(draws)])


def by_definition(size: int, share: float, length: int, least: int, rng: np.random.Generator) -> np.ndarray:
    """One row of fairseq's compute_mask_indices, static lengths, as its description reads."""
    count = max(least, int(share * size / length + rng.random()))
    shortest = length
    if size - shortest <= count:
        shortest = size - count - 1
    starts = rng.choice(size - shortest, count, replace=False)
    mask = np.zeros(size, dtype=bool)
    for start in starts:
        mask[start : start + length] = True
    return mask


@pytest.mark.parametrize(
    ("positions", "probability", "length", "least"),
    [(120, 0.65, 10, 1), (49, 0.65, 10, 1), (60, 0.3, 4, 1), (40, 0.1, 10, 2), (16, 0.65, 10, 2)],
)
def test_masks_are_distributed_as_the_released_codes(
    positions: int, probability: float, length: int, least: int
) -> None:
    draws, rng = 4_000, np.random.default_rng(0)
    ours = hidden(SpanMasker(probability=probability, length=length, min_spans=least), positions, draws)
    theirs = np.stack([by_definition(positions, probability, length, least, rng) for _ in range(draws)])
    tolerance = 5 * np.sqrt(0.5 / draws)  # five standard errors of a difference of two shares, at most
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < tolerance
    counts = np.arange(positions + 1)
    ours_below, theirs_below = ((rows.sum(1)[:, None] <= counts).mean(0) for rows in (ours, theirs))
    assert np.abs(ours_below - theirs_below).max() < tolerance
    neighbours_ours, neighbours_theirs = ((rows[:, 1:] & rows[:, :-1]).mean() for rows in (ours, theirs))
    assert abs(neighbours_ours - neighbours_theirs) < 0.02


@pytest.mark.parametrize("positions", [500, 750])
def test_half_of_an_utterance_is_hidden(positions: int) -> None:
    assert hidden(SpanMasker(), positions, 400).mean() == pytest.approx(0.49, abs=0.005)


@pytest.mark.parametrize("rows", [8, 12])
def test_equalised_counts_leave_as_much_as_the_released_code_leaves(rows: int) -> None:
    masker = SpanMasker(equalize_counts=True)
    share = []
    for batch in range(60):
        masks = tuple(draw(masker, 600, batch * rows + row) for row in range(rows))
        masks = masker.equalize(masks, generator=generator(batch, "equalise"))
        share.append(torch.stack([mask.predicted for mask in masks]).float().mean().item())
    assert 0.445 < np.mean(share) < 0.465


def test_equalised_samples_hide_equally_many_and_nothing_new() -> None:
    masker = SpanMasker(equalize_counts=True)
    before = tuple(draw(masker, positions, seed) for seed, positions in enumerate((200, 220, 260)))
    after = masker.equalize(before, generator=generator(0, "equalise"))
    assert {int(mask.predicted.sum()) for mask in after} == {min(int(mask.predicted.sum()) for mask in before)}
    for old, new in zip(before, after, strict=True):
        assert not (new.predicted & ~old.predicted).any()
        assert torch.equal(new.corruption.bool(), new.predicted)


def test_without_equalising_samples_keep_the_masks_they_drew() -> None:
    masks = tuple(draw(SpanMasker(), 200, seed) for seed in range(4))
    assert SpanMasker().equalize(masks, generator=generator(0, "equalise")) is masks


def test_the_last_position_is_never_hidden() -> None:
    assert not hidden(SpanMasker(), 60, 500)[:, -1].any()


def test_what_is_predicted_is_hidden_and_nothing_else_is() -> None:
    mask = draw(SpanMasker(), 100, 0)
    assert mask.predicted.shape == (1, 100)
    assert torch.equal(mask.corruption, mask.predicted.to(torch.uint8))


def test_a_sample_gets_the_same_mask_from_the_same_generator_and_another_from_another() -> None:
    first, again, other = draw(SpanMasker(), 100, 3), draw(SpanMasker(), 100, 3), draw(SpanMasker(), 100, 4)
    assert torch.equal(first.predicted, again.predicted)
    assert not torch.equal(first.predicted, other.predicted)


def test_mask_dropout_shows_its_share_of_what_was_hidden() -> None:
    full, thinned = draw(SpanMasker(), 400, 5).predicted, draw(SpanMasker(mask_dropout=0.25), 400, 5).predicted
    assert not (thinned & ~full).any()
    assert int(thinned.sum()) == int(full.sum()) - round(0.25 * int(full.sum()))


def test_several_masks_of_a_sample_are_drawn_independently_and_dropped_where_that_is_asked_for() -> None:
    masker = SpanMasker(probability=0.8, length=5, masks=400, corruption="drop")
    mask = draw(masker, 60, 0)
    assert mask.predicted.shape == (400, 60)
    assert torch.equal(mask.corruption, mask.predicted.to(torch.uint8) * int(Corruption.DROP))
    one = torch.stack([draw(SpanMasker(probability=0.8, length=5), 60, seed).predicted[0] for seed in range(400)])
    for moment in (lambda rows: rows.float().mean(0), lambda rows: (rows[:, :-5] & rows[:, 5:]).float().mean(0)):
        assert torch.allclose(moment(mask.predicted), moment(one), atol=0.15)
    assert len({tuple(row.tolist()) for row in mask.predicted}) == 400


def test_equalised_samples_hide_equally_many_in_each_of_their_masks() -> None:
    masker = SpanMasker(equalize_counts=True, masks=3)
    before = tuple(draw(masker, positions, seed) for seed, positions in enumerate((200, 220)))
    after = masker.equalize(before, generator=generator(0, "equalise"))
    assert len({int(row.sum()) for mask in after for row in mask.predicted}) == 1
    assert all(not (new.predicted & ~old.predicted).any() for old, new in zip(before, after, strict=True))


@given(positions=st.integers(1, 40), probability=st.floats(0, 1), length=st.integers(1, 15), seed=st.integers(0, 99))
def test_a_short_sample_is_masked_in_part_or_refused(
    positions: int, probability: float, length: int, seed: int
) -> None:
    try:
        mask = draw(SpanMasker(probability=probability, length=length), positions, seed)
    except SpecError:
        return
    assert mask.predicted.shape == (1, positions)
    assert 0 < int(mask.predicted.sum()) < positions


@pytest.mark.parametrize(
    ("masker", "positions", "word"),
    [
        (SpanMasker(length=3, min_spans=1_000), 20, "all"),
        (SpanMasker(length=1, mask_dropout=0.9, probability=0.1), 9, "none"),
    ],
)
def test_a_mask_that_hides_all_or_nothing_is_an_error_that_says_so(
    masker: SpanMasker, positions: int, word: str
) -> None:
    with pytest.raises(SpecError, match=f"SpanMasker hides {word} of a sample's {positions} positions") as caught:
        draw(masker, positions, 0)
    assert "leave such short samples out" in caught.value.hint


def test_a_grid_has_no_spans() -> None:
    with pytest.raises(SpecError, match=r"the positions form a grid \(14, 14\)"):
        SpanMasker().sample(Layout((14, 14)), generator=generator(0, "mask"))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("probability", (-0.1, 1.3)),
        ("length", (0,)),
        ("min_spans", (0,)),
        ("mask_dropout", (-0.1, 1.0)),
    ],
)
def test_a_field_out_of_range_is_named_with_its_meaning(field: str, values: Sequence[float]) -> None:
    for value in values:
        with pytest.raises(SpecError, match=rf"SpanMasker\.{field} must be") as caught:
            SpanMasker(**{field: value})
        assert caught.value.hint


def test_spans_that_are_short_for_their_samples_are_fine():
    (found,) = SpanMasker().examine(tiny_preflight(Layout((100,)), Layout((500,)), Layout((750,))))
    assert found.severity == "fine"
    assert "32.5 spans of 10 in the median sample of 500 positions" in found.says


def test_samples_with_hardly_a_span_are_warned_of_and_the_mend_mends():
    preflight = tiny_preflight(Layout((25,)), Layout((28,)), Layout((30,)))
    (found,) = SpanMasker().examine(preflight)
    assert (found.severity, found.where) == ("warning", "length")
    length = int(found.hint.partition("=")[2].partition(",")[0])
    assert [each.severity for each in SpanMasker(length=length).examine(preflight)] == ["fine"]
    assert [each.severity for each in SpanMasker(min_spans=2).examine(preflight)] == ["fine"]


def test_a_span_of_half_the_shortest_sample_is_warned_of():
    found = list(SpanMasker().examine(tiny_preflight(Layout((19,)), Layout((500,)), Layout((750,)))))
    assert [each.severity for each in found] == ["fine", "warning"]
    assert "more than half of the shortest sample, 19 positions" in found[1].says
