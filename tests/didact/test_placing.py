"""Hiding, replacing, repeating, dropping, prepending and restoring, against what each does to one position."""

from __future__ import annotations

import math

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import (
    BatchMask,
    Corruption,
    Layout,
    Mask,
    SpecError,
    Tokens,
    corrupt,
    drop,
    prepend,
    repeat,
    restore,
    sincos_positions,
)

T, D = 6, 3


@st.composite
def masks(draw, kinds=(0, 1, 2)) -> list[Mask]:
    b, m = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    row = st.lists(st.sampled_from(kinds), min_size=T, max_size=T)
    made = []
    for _ in range(b):
        corruption = torch.tensor([draw(row) for _ in range(m)], dtype=torch.uint8)
        corruption[:, 2] = Corruption.NONE
        numbers = torch.tensor([draw(st.lists(st.integers(0, 10**9), min_size=T, max_size=T)) for _ in range(m)])
        made.append(Mask(predicted=corruption != 0, corruption=corruption, replacement=numbers))
    return made


def features(b: int) -> torch.Tensor:
    """(B, T, D), no two values alike."""
    return torch.arange(float(b * T * D)).reshape(b, T, D) + 1


@settings(max_examples=50)
@given(masks())
def test_each_position_holds_its_own_content_the_mask_embedding_or_other_content(made):
    x, embedding, table = features(len(made)), torch.full((D,), -1.0), -torch.arange(30.0).reshape(10, D) - 2
    for content in (None, table):
        out = corrupt(x, BatchMask.collate(made, T), embedding, content)
        for b, mask in enumerate(made):
            for m in range(len(mask.corruption)):
                for t in range(T):
                    number = int(mask.replacement[m, t])
                    expected = {
                        Corruption.NONE: x[b, t],
                        Corruption.HIDE: embedding,
                        Corruption.REPLACE: table[number % 10] if content is not None else x[b, number % T],
                    }[Corruption(int(mask.corruption[m, t]))]
                    assert torch.equal(out[b * len(mask.corruption) + m, t], expected)


def test_without_a_mask_everything_stays_and_is_not_repeated():
    x = features(2)
    assert corrupt(x, None, torch.zeros(D)) is x
    assert repeat(x, None) is x
    assert repeat(None, None) is None
    tokens = Tokens(features=x, layout=Layout((T,)))
    assert drop(tokens, None) is tokens


def test_replacing_keeps_the_features_dtype_and_passes_gradients_to_what_stands_there():
    x = features(1).to(torch.bfloat16).requires_grad_()
    embedding = torch.zeros(D, requires_grad=True)
    mask = BatchMask.collate([Mask.hide(torch.tensor([[True, True, False, False, False, False]]))], T)
    out = corrupt(x, mask, embedding)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert x.grad[0, :2].abs().sum() == 0
    assert x.grad[0, 2:].eq(1).all()
    assert embedding.grad.tolist() == [2.0] * D


@settings(max_examples=50)
@given(masks(kinds=(0, 3)), st.booleans())
def test_dropping_gathers_the_visible_positions_and_their_padding(made, padded):
    b, m = len(made), len(made[0].corruption)
    padding = torch.zeros(b, T, dtype=torch.bool)
    padding[:, T - 1] = padded
    mask = BatchMask.collate(made, T)
    tokens = Tokens(
        features=repeat(features(b), mask), layout=Layout((T,)), padding=repeat(padding, mask) if padded else None
    )
    out = drop(tokens, mask)
    if mask.visible is None:
        assert out is tokens
        return
    assert torch.equal(out.positions, mask.visible)
    for row in range(b * m):
        kept = (made[row // m].corruption[row % m] != Corruption.DROP).nonzero().flatten().tolist()
        assert torch.equal(out.features[row, : len(kept)], features(b)[row // m, kept])
        flags = [padded and t == T - 1 for t in kept] + [True] * (out.features.shape[1] - len(kept))
        assert (out.padding[row].tolist() if out.padding is not None else [False] * len(flags)) == flags


@pytest.mark.parametrize("padded", [False, True])
def test_prepended_tokens_stand_first_in_every_row_and_are_never_padding(padded):
    padding = torch.ones(2, T, dtype=torch.bool) if padded else None
    tokens = Tokens(features=features(2), layout=Layout((T,)), padding=padding)
    out = prepend(prepend(tokens, torch.full((1, D), -2.0)), torch.full((2, D), -1.0))
    assert out.extra == 3
    assert out.features[:, :3, 0].tolist() == [[-1, -1, -2]] * 2
    assert torch.equal(out.features[:, 3:], tokens.features)
    assert out.padding is None or out.padding.tolist() == [[False] * 3 + [True] * T] * 2
    assert out.layout == tokens.layout


def test_repeated_rows_lie_sample_by_sample():
    mask = BatchMask.collate([Mask.hide(torch.tensor([[True, False], [False, True]]))] * 2, 2)
    assert repeat(torch.tensor([10, 20]), mask).tolist() == [10, 10, 20, 20]


def test_dropping_leaves_the_layout_of_all_positions():
    mask = BatchMask.collate([Mask.drop(torch.tensor([[True, False, True, False]]))], 4)
    tokens = attrs.evolve(Tokens(features=torch.rand(1, 4, D), layout=Layout((2, 2))))
    assert drop(tokens, mask).layout == Layout((2, 2))


# ── the way back ─────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def droppings(draw) -> list[torch.Tensor]:
    """For samples of several lengths, which of their positions M masks drop: each (M, t), one at least stays."""
    m = draw(st.integers(1, 3))
    made = []
    for _ in range(draw(st.integers(1, 4))):
        t = draw(st.integers(1, T))
        rows = [draw(st.lists(st.booleans(), min_size=t, max_size=t)) for _ in range(m)]
        for row in rows:
            row[draw(st.integers(0, t - 1))] = False
        made.append(torch.tensor(rows))
    return made


@settings(max_examples=200)
@given(droppings(), st.integers(0, 2))
def test_restoring_puts_back_what_was_not_dropped_and_the_fill_everywhere_else(dropped, extra):
    b, m, t = len(dropped), len(dropped[0]), max(rows.shape[1] for rows in dropped)
    lengths = [rows.shape[1] for rows in dropped]
    padding = torch.arange(t) >= torch.tensor(lengths)[:, None] if len(set(lengths)) > 1 else None
    mask = BatchMask.collate([Mask.drop(rows) for rows in dropped], t)
    whole = torch.arange(1.0, b * m * t * D + 1).reshape(b * m, t, D)  # of each row and position, all unlike
    tokens = drop(Tokens(features=whole, layout=Layout((t,)), padding=repeat(padding, mask)), mask)
    if extra:
        tokens = prepend(tokens, torch.full((extra, D), torch.nan))
    fill = -torch.arange(1.0, b * m * (t + 1) * D + 1).reshape(b * m, t + 1, D)
    before = fill.clone()
    found = restore(tokens.features[:, extra:], tokens, fill)
    assert torch.equal(fill, before)
    assert found.shape == (b * m, t, D)
    if mask.visible is None:
        assert torch.equal(found, whole)
        return
    for row in range(b * m):
        for place in range(t):
            held = place < lengths[row // m] and not dropped[row // m][row % m, place]
            assert torch.equal(found[row, place], (whole if held else fill)[row, place])


def test_a_restored_gradient_reaches_what_is_held_and_the_fill_that_shows():
    dropped = [torch.tensor([[True, False, False, True]]), torch.tensor([[False, True, True, True]])]
    mask = BatchMask.collate([Mask.drop(rows) for rows in dropped], 4)
    tokens = drop(Tokens(features=torch.rand(2, 4, D), layout=Layout((2, 2))), mask)
    features, fill = torch.rand(2, 2, 5, requires_grad=True), torch.rand(2, 5, 5, requires_grad=True)
    restore(features, tokens, fill).sum().backward()
    assert features.grad[..., 0].tolist() == [[1, 1], [1, 0]]  # the second row holds one, and filler
    assert fill.grad[..., 0].tolist() == [[1, 0, 0, 1, 0], [0, 1, 1, 1, 0]]


def test_where_nothing_was_dropped_there_is_nothing_to_restore():
    x = features(2)
    assert restore(x, Tokens(features=x, layout=Layout((T,))), torch.zeros(2, T + 1, D)) is x


# ── sines and cosines; of a grid, they are compared with other implementations in tests/vision ───────────────────────


@pytest.mark.parametrize(("length", "width"), [(5, 12), (1, 2), (300, 8)])
def test_along_a_sequence_all_sines_stand_before_all_cosines(length, width):
    positions, waves = sincos_positions(Layout((length,)), width), width // 2
    assert positions.shape == (length, width)
    assert positions.dtype == torch.float32
    for t in range(length):
        angles = [t / 10_000 ** (2 * i / width) for i in range(waves)]  # Vaswani et al. 2017, section 3.5
        expected = [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert positions[t].tolist() == pytest.approx(expected, abs=1e-6)


def test_of_three_axes_the_last_has_the_first_third_of_the_channels():
    shape, width = (2, 3, 4), 12
    positions = sincos_positions(Layout(shape), width).reshape(*shape, width)
    for place in torch.cartesian_prod(*map(torch.arange, shape)).tolist():
        expected = []
        for at in reversed(place):
            angles = [at, at / 100]  # 10000^(-i / 2)
            expected += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert positions[tuple(place)].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("shape", "width"), [((6,), 7), ((2, 3), 6), ((2, 3, 4), 8), ((2, 3), 2)])
def test_a_width_that_axes_cannot_share_is_refused(shape, width):
    with pytest.raises(
        SpecError, match=f"along {len(shape)} axes .* multiple of {2 * len(shape)}, got {width}"
    ) as caught:
        sincos_positions(Layout(shape), width)
    assert caught.value.where == "width"
