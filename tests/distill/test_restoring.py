"""Restoring dropped positions, tested at single positions."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import BatchMask, Layout, Mask, Tokens
from didact.placing import drop, prepend, repeat
from didact_distill.restoring import restore

T, D = 6, 3


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
    x = torch.rand(2, T, D)
    assert restore(x, Tokens(features=x, layout=Layout((T,))), torch.zeros(2, T + 1, D)) is x
