"""The k-nearest-neighbour classifier: what features tell apart without any training on them."""

from __future__ import annotations

import torch
from torch import Tensor

TEMPERATURE = 0.07  # of the vote; Wu et al. 2018, DINO
ROWS = 1_024  # test samples at a time, so that the similarities stay small


def classify_by_neighbours(train: Tensor, labels: Tensor, test: Tensor, *, neighbours: int, classes: int) -> Tensor:
    """The class for which the nearest training samples vote.

    Nearness is the cosine of features from which the training mean was taken: without that, a direction that all
    samples share drowns what tells them apart. A neighbour's vote weighs exp(cosine / 0.07), as in Wu et al. 2018
    (instance discrimination, §3.4) and DINO.

    Args:
        train: (N, D) float.
        labels: (N,) int64; the classes of the training samples.
        test: (S, D) float.
        neighbours: how many vote; all of them where there are fewer.
        classes: C.

    Returns:
        (S,) int64.
    """
    mean = train.mean(0)
    train, test = (torch.nn.functional.normalize(values - mean, dim=1) for values in (train, test))
    votes = []
    for first in range(0, len(test), ROWS):
        rows = test[first : first + ROWS]
        cosine, nearest = (rows @ train.T).topk(min(neighbours, len(train)), dim=1)  # (rows, N) -> (rows, k)
        weight = ((cosine - cosine[:, :1]) / TEMPERATURE).exp()  # relative to the nearest: no overflow, same winner
        votes.append(weight.new_zeros(len(rows), classes).scatter_add(1, labels[nearest], weight).argmax(1))
    return torch.cat(votes)
