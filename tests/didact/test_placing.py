"""Hiding, replacing, repeating, dropping and prepending, tested at single positions."""

from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import BatchMask, Corruption, Layout, Mask, Tokens
from didact.placing import corrupt, drop, prepend, repeat

T, D = 6, 3


@st.composite
def masks(draw, kinds=(0, 1, 2), shortest=T) -> list[Mask]:
    b, m = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    made = []
    for _ in range(b):
        t = draw(st.integers(shortest, T))
        row = st.lists(st.sampled_from(kinds), min_size=t, max_size=t)
        corruption = torch.tensor([draw(row) for _ in range(m)], dtype=torch.uint8)
        corruption[:, 2] = Corruption.NONE
        numbers = torch.tensor([draw(st.lists(st.integers(0, 10**9), min_size=t, max_size=t)) for _ in range(m)])
        made.append(Mask(predicted=corruption != 0, corruption=corruption, replacement=numbers))
    return made


def features(b: int) -> torch.Tensor:
    """(B, T, D), no two values alike."""
    return torch.arange(float(b * T * D)).reshape(b, T, D) + 1


@settings(max_examples=50)
@given(masks(shortest=3))
def test_each_position_holds_its_own_content_the_mask_embedding_or_other_content_of_its_sample(made):
    x, embedding, table = features(len(made)), torch.full((D,), -1.0), -torch.arange(30.0).reshape(10, D) - 2
    lengths = [mask.corruption.shape[1] for mask in made]
    padding = torch.arange(T) >= torch.tensor(lengths)[:, None] if min(lengths) < T else None
    for content in (None, table):
        out = corrupt(x, BatchMask.collate(made, T), embedding, padding=padding, content=content)
        for b, mask in enumerate(made):
            for m in range(len(mask.corruption)):
                for t in range(lengths[b]):
                    number = int(mask.replacement[m, t])
                    expected = {
                        Corruption.NONE: x[b, t],
                        Corruption.HIDE: embedding,
                        Corruption.REPLACE: table[number % 10] if content is not None else x[b, number % lengths[b]],
                    }[Corruption(int(mask.corruption[m, t]))]
                    assert torch.equal(out[b * len(mask.corruption) + m, t], expected)


def test_without_a_mask_everything_stays_and_is_not_repeated():
    x = features(2)
    assert corrupt(x, None, torch.zeros(D), padding=None) is x
    assert repeat(x, None) is x
    assert repeat(None, None) is None
    tokens = Tokens(features=x, layout=Layout((T,)))
    assert drop(tokens, None) is tokens


def test_replacing_keeps_the_features_dtype_and_passes_gradients_to_what_stands_there():
    x = features(1).to(torch.bfloat16).requires_grad_()
    embedding = torch.zeros(D, requires_grad=True)
    mask = BatchMask.collate([Mask.hide(torch.tensor([[True, True, False, False, False, False]]))], T)
    out = corrupt(x, mask, embedding, padding=None)
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
    assert out.num_prefix_tokens == 3
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
