"""The linear probe against scikit-learn's logistic regression."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from didact import DataError
from didact_evaluate import fit_linear
from didact_evaluate.linear import HELD_OUT, stratified


def _generator():
    return torch.Generator().manual_seed(0)


def _data(n, d, classes, seed=0, separation=1.0):
    """Classes around centres, in features that are strongly correlated and of very different size."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=n)
    mixing = random.normal(size=(d, d)) * np.logspace(0, -2, d)
    values = (separation * random.normal(size=(classes, d))[labels] + random.normal(size=(n, d))) @ mixing
    return torch.tensor(values + 5, dtype=torch.float32), torch.tensor(labels)


@pytest.mark.parametrize(("n", "d", "classes"), [(400, 20, 4), (300, 5, 2), (60, 200, 3)])
@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_probabilities_equal_those_of_scikit_learn(n, d, classes, strength):
    features, labels = _data(n, d, classes)
    ours = fit_linear(features, labels, classes=classes, generator=_generator(), strengths=(strength,))
    scaled = StandardScaler().fit_transform(features.double().numpy())
    theirs = LogisticRegression(C=1 / (n * strength), tol=1e-8, max_iter=20_000).fit(scaled, labels.numpy())
    if classes == 2:  # scikit-learn's two-class model has one weight vector w, ours two (w/2, -w/2): half the penalty
        theirs = LogisticRegression(C=2 / (n * strength), tol=1e-8, max_iter=20_000).fit(scaled, labels.numpy())
    found = ours.scores(features).softmax(1).double().numpy()
    np.testing.assert_allclose(found, theirs.predict_proba(scaled), atol=3e-3)


def test_the_strength_is_the_one_that_does_best_on_what_was_held_out():
    features, labels = _data(600, 60, 5, separation=0.4)
    strengths = (3.0, 0.3, 0.03, 0.003)
    ours = fit_linear(features, labels, classes=5, generator=_generator(), strengths=strengths)
    held_out = stratified(labels, HELD_OUT, _generator()).numpy()
    scaled = StandardScaler().fit_transform(features.numpy())
    known, unknown = labels.numpy()[~held_out], labels.numpy()[held_out]
    models = {
        strength: LogisticRegression(C=1 / (len(known) * strength), max_iter=5_000).fit(scaled[~held_out], known)
        for strength in strengths
    }
    scores = {strength: model.score(scaled[held_out], unknown) for strength, model in models.items()}
    assert scores[ours.strength] == max(scores.values())


def test_the_scale_of_features_does_not_matter():
    features, labels = _data(300, 10, 3)
    scale = torch.logspace(-3, 3, 10)
    one = fit_linear(features, labels, classes=3, generator=_generator())
    other = fit_linear(features * scale, labels, classes=3, generator=_generator())
    agreement = (one.classify(features) == other.classify(features * scale)).double().mean()
    assert agreement > 0.99


def test_constant_features_are_ignored():
    features, labels = _data(300, 10, 3)
    constant = torch.cat([features, torch.full((300, 2), 7.0)], 1)
    one = fit_linear(features, labels, classes=3, generator=_generator())
    other = fit_linear(constant, labels, classes=3, generator=_generator())
    shifted = torch.cat([features, torch.full((300, 2), 9.0)], 1)
    assert torch.equal(one.classify(features), other.classify(shifted))


def test_wide_features_are_fitted_without_their_covariance(monkeypatch):
    features, labels = _data(200, 30, 3)
    with_covariance = fit_linear(features, labels, classes=3, generator=_generator(), strengths=(0.1,))
    monkeypatch.setattr("didact_evaluate.linear.WIDEST_WHITENED", 10)
    without = fit_linear(features, labels, classes=3, generator=_generator(), strengths=(0.1,))
    torch.testing.assert_close(with_covariance.scores(features), without.scores(features), atol=5e-3, rtol=0)


def test_it_works_where_gradients_are_switched_off():
    with torch.inference_mode():
        features, labels = _data(200, 5, 2)
        classifier = fit_linear(features, labels, classes=2, generator=_generator())
    assert (classifier.classify(features) == labels).double().mean() > 0.8


def test_features_that_are_not_finite_are_an_error():
    features, labels = _data(50, 5, 2)
    features[3, 2] = float("nan")
    with pytest.raises(DataError, match=r"features \(N=50, D=5\) to classify are not finite"):
        fit_linear(features, labels, classes=2, generator=_generator())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.floats(0.05, 0.9))
def test_a_stratified_part_has_its_share_of_each_class(labels, share):
    labels = torch.tensor(labels)
    part = stratified(labels, share, _generator())
    for label in labels.unique():
        count, held = int((labels == label).sum()), int(part[labels == label].sum())
        assert held == (max(1, round(share * count)) if count > 1 else 0)
