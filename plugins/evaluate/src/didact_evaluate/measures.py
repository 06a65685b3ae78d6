"""Measures of a set of vectors that show collapse, in one number each."""

from __future__ import annotations

import torch
from torch import Tensor


def rankme(vectors: Tensor) -> Tensor:
    """The effective rank of ``vectors`` (N, D), a scalar from 1 to min(N, D).

    The exponential of the entropy of the singular values' shares (Garrido et al. 2023, eq. 2). It bounds what a linear
    probe can use, so compare it between runs of equal N and D only.
    """
    singular = torch.linalg.svdvals(vectors.double())  # float64: in float32 the tail of a collapsed set is noise
    shares = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny) + 1e-7
    entropy: Tensor = -(shares * shares.log()).sum()
    return entropy.exp()


def mean_cosine(vectors: Tensor) -> Tensor:
    """The mean cosine between two different ones of ``vectors`` (N, D), a scalar; near 1, all point the same way."""
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    n = len(unit)
    # the sum over all pairs is ‖Σ u‖², of which N are pairs of a vector with itself
    return (unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1))


def spread(vectors: Tensor, groups: Tensor | None = None) -> Tensor:
    """The standard deviation of ``vectors`` (N, D), root mean square over the D channels, a scalar.

    Args:
        vectors: (N, D).
        groups: (N,) int64 or None; the deviation is then from the mean of a vector's own group, over the groups that
            have more than one member. By sample, it tells how much the positions of a sample differ; by position, how
            much the samples differ at a position. A network whose output follows the position alone passes for
            healthy by the first and not by the second.
    """
    vectors = vectors.double()
    if groups is None:
        groups = torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)
    sizes = groups.bincount()  # (G,), some of them 0
    means = vectors.new_zeros(len(sizes), vectors.shape[1]).index_add(0, groups, vectors)  # (G, D)
    means = means / sizes.clamp(min=1)[:, None]
    squares = (vectors - means[groups]).square().mean(1)  # (N,)
    several = sizes > 1
    freedom = (sizes - 1)[several].sum()  # one degree is lost with each mean
    variance: Tensor = squares[several[groups]].sum() / freedom
    return variance.sqrt()
