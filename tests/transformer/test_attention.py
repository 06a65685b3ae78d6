"""Attention that is computed in parts equals attention that is computed at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from didact_transformer import attention

ROWS, HEADS, LENGTH, WIDTH = 5, 4, 7, 6
LOGITS_BYTES = LENGTH * LENGTH * 4  # of one head of one row


@settings(max_examples=40, deadline=None)
@given(
    heads=st.integers(1, 3 * HEADS),
    bias=st.sampled_from([None, (1, HEADS, LENGTH, LENGTH), (ROWS, 1, 1, LENGTH), (ROWS, HEADS, LENGTH, LENGTH)]),
)
def test_the_parts_put_together_are_the_whole(heads: int, bias: tuple[int, ...] | None) -> None:
    entered = [torch.randn(ROWS, HEADS, LENGTH, WIDTH, requires_grad=True) for _ in range(3)]
    entered += [torch.randn(bias, requires_grad=True)] if bias else []
    query, key, value = entered[:3]
    added = entered[3] if bias else None
    weight = torch.randn(ROWS, HEADS, LENGTH, WIDTH)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attention, "CACHE_BYTES", heads * LOGITS_BYTES)
        read = attention.attend(query, key, value, added, 0.0)
        found = torch.autograd.grad((read * weight).sum(), entered)
    expected = F.scaled_dot_product_attention(query, key, value, added)
    torch.testing.assert_close(read, expected)
    for one, other in zip(found, torch.autograd.grad((expected * weight).sum(), entered), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fit", "sizes"),
    [(0, [(1, 1)] * ROWS * HEADS), (3, [(1, 3), (1, 1)] * ROWS), (9, [(2, HEADS)] * 2 + [(1, HEADS)]), (99, [(5, 4)])],
)
def test_no_part_is_larger_than_the_cache_if_heads_can_be_parted(monkeypatch, fit, sizes) -> None:
    seen = []
    drop = attention.drop
    monkeypatch.setattr(attention, "CACHE_BYTES", fit * LOGITS_BYTES)
    monkeypatch.setattr(
        attention, "drop", lambda weights, share: seen.append(weights.shape[:2]) or drop(weights, share)
    )
    query = torch.randn(ROWS, HEADS, LENGTH, WIDTH, requires_grad=True)
    attention.attend(query, query, query, None, 0.0)
    assert seen == sizes
