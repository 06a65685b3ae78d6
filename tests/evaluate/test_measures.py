"""Measures of collapse against their definitions."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from didact_evaluate import mean_cosine, rankme, spread


@given(st.integers(1, 8))
def test_rankme_of_equal_singular_values_is_their_number(rank):
    basis = torch.linalg.qr(torch.randn(20, 8, generator=torch.Generator().manual_seed(rank)))[0][:, :rank]
    vectors = 3 * basis @ torch.eye(8)[:rank]
    assert math.isclose(float(rankme(vectors)), rank, rel_tol=1e-3)


def test_rankme_of_a_collapsed_set_is_one():
    assert math.isclose(float(rankme(torch.ones(50, 1) * torch.randn(1, 16))), 1, rel_tol=1e-3)


def test_rankme_does_not_depend_on_scale():
    vectors = torch.randn(40, 6)
    assert math.isclose(float(rankme(vectors)), float(rankme(vectors * 1e-4)), rel_tol=1e-6)


def test_mean_cosine_is_the_mean_over_all_pairs():
    vectors = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    pairs = [
        torch.cosine_similarity(vectors[a].double(), vectors[b].double(), dim=0)
        for a in range(12)
        for b in range(12)
        if a != b
    ]
    torch.testing.assert_close(mean_cosine(vectors), torch.stack(pairs).mean())


def test_spread_of_one_group_is_the_standard_deviation():
    vectors = torch.randn(30, 4).double()
    torch.testing.assert_close(spread(vectors), vectors.var(0).mean().sqrt())


def test_spread_within_groups_leaves_out_what_the_groups_mean():
    noise = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)).double()
    groups = torch.arange(400) % 40
    far_apart = noise + 100 * groups[:, None]
    assert math.isclose(float(spread(far_apart, groups)), float(noise.var(0).mean().sqrt()), rel_tol=0.1)


def test_groups_of_one_say_nothing():
    vectors = torch.tensor([[0.0], [2.0], [50.0]])
    assert math.isclose(float(spread(vectors, torch.tensor([3, 3, 9]))), math.sqrt(2))
