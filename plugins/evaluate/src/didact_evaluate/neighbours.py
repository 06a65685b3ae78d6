"""The k-nearest-neighbour classifier, which measures how well features separate classes without training."""

from __future__ import annotations

import torch
from torch import Tensor

TEMPERATURE = 0.07  # temperature of the vote; Wu et al. 2018, DINO
ROWS = 1_024  # test samples per step, which bounds the memory of the similarities


def classify_by_neighbours(train: Tensor, labels: Tensor, test: Tensor, *, neighbours: int, classes: int) -> Tensor:
    """Classifies test samples by a vote of the nearest training samples.

    Nearness is the cosine after subtraction of the training mean; without the subtraction, a direction shared by all
    samples dominates the cosines. A neighbour's vote is weighted by exp(cosine / 0.07), as in Wu et al. 2018 (instance
    discrimination, §3.4) and DINO.

    Args:
        train: (N, D) float; features of the training samples.
        labels: (N,) int64; the classes of the training samples.
        test: (S, D) float; features of the test samples.
        neighbours: number of neighbours that vote; all training samples vote if there are fewer.
        classes: C, the number of classes.

    Returns:
        (S,) int64; the predicted class of each test sample.
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
