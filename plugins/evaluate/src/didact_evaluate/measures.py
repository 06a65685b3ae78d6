"""Scalar measures of a set of vectors that reveal collapse."""

from __future__ import annotations

import torch
from torch import Tensor


def rankme(vectors: Tensor) -> Tensor:
    """Computes the effective rank of ``vectors`` (N, D), a scalar from 1 to min(N, D).

    The effective rank is the exponential of the entropy of the normalised singular values (Garrido et al. 2023, eq. 2).
    It is bounded by N and D, so compare it only between runs with the same N and D.
    """
    singular = torch.linalg.svdvals(vectors.double())  # float64: in float32 the tail of a collapsed set is noise
    shares = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny) + 1e-7
    entropy: Tensor = -(shares * shares.log()).sum()
    return entropy.exp()


def mean_cosine(vectors: Tensor) -> Tensor:
    """Computes the mean cosine over pairs of different ``vectors`` (N, D), a scalar; 1 if all have one direction."""
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    n = len(unit)
    # the sum over all pairs is ‖Σ u‖²; N of these pairs are a vector with itself
    return (unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1))


def spread(vectors: Tensor, groups: Tensor | None = None) -> Tensor:
    """Computes the standard deviation of ``vectors`` (N, D), root mean square over the D channels, a scalar.

    Args:
        vectors: (N, D).
        groups: (N,) int64 or None; the group of each vector. With groups, deviations are taken from the mean of the
            vector's group, and groups with one member are ignored. Grouping by sample measures how much the positions
            of a sample differ; grouping by position measures how much the samples differ at one position. If a
            network's output depends on the position alone, the first measure looks healthy and the second does not.
    """
    vectors = vectors.double()
    if groups is None:
        groups = torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)
    sizes = groups.bincount()  # (G,), may contain zeros
    means = vectors.new_zeros(len(sizes), vectors.shape[1]).index_add(0, groups, vectors)  # (G, D)
    means = means / sizes.clamp(min=1)[:, None]
    squares = (vectors - means[groups]).square().mean(1)  # (N,)
    several = sizes > 1
    freedom = (sizes - 1)[several].sum()  # each mean uses up one degree of freedom
    variance: Tensor = squares[several[groups]].sum() / freedom
    return variance.sqrt()
