"""The k-NN vote against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from didact_evaluate import classify_by_neighbours


def _data(n, seed, separation=0.6):
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(4, 12))
    labels = random.integers(4, size=n)
    return torch.tensor(separation * centres[labels] + random.normal(size=(n, 12)) + 3), torch.tensor(labels)


@pytest.mark.parametrize("neighbours", [1, 7, 20])
def test_the_vote_equals_scikit_learns(neighbours):
    train, labels = _data(500, 0)
    test, _ = _data(300, 1)
    theirs = KNeighborsClassifier(
        neighbours, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.07), algorithm="brute"
    ).fit(train - train.mean(0), labels)
    ours = classify_by_neighbours(train, labels, test, neighbours=neighbours, classes=4)
    np.testing.assert_array_equal(ours, theirs.predict((test - train.mean(0)).numpy()))


def test_test_samples_are_classified_one_by_one(monkeypatch):
    train, labels = _data(100, 0)
    test, _ = _data(50, 1)
    whole = classify_by_neighbours(train, labels, test, neighbours=5, classes=4)
    monkeypatch.setattr("didact_evaluate.neighbours.ROWS", 7)
    assert torch.equal(whole, classify_by_neighbours(train, labels, test, neighbours=5, classes=4))


def test_more_neighbours_than_samples_let_all_vote():
    train = torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0]])
    found = classify_by_neighbours(train, torch.tensor([0, 0, 1]), train, neighbours=20, classes=2)
    assert found.tolist() == [0, 0, 1]


def test_a_shared_direction_does_not_drown_what_differs():
    train, labels = _data(400, 0, separation=2.0)
    test, expected = _data(200, 1, separation=2.0)
    found = [
        classify_by_neighbours(train + shift, labels, test + shift, neighbours=20, classes=4) for shift in (0, 1e4)
    ]
    assert (found[0] == expected).double().mean() > 0.8
    assert (found[0] == found[1]).double().mean() > 0.99
