"""The linear probe: logistic regression solved to convergence, with L2 strength chosen on held-out data."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from didact import DataError

STRENGTHS = tuple(10 ** (-exponent / 2) for exponent in range(-2, 12))  # 10 … 3e-6, for standardised features
PATIENCE = 3  # the search ends after this many consecutive strengths without improvement
HELD_OUT = 0.2  # share of each class that is held out to choose the strength
WIDEST_WHITENED = 4_096  # features; above it, the D×D matrix costs more than the iterations that it saves


@attrs.frozen(kw_only=True, eq=False)
class LinearClassifier:
    """A linear classifier of standardised features.

    Attributes:
        mean: (D,); mean of the training features.
        scale: (D,); reciprocal of their standard deviation, 0 for constant features.
        weight: (D, C).
        bias: (C,).
        strength: λ of the penalty λ/2·‖weight‖², which is added to the mean cross-entropy.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    strength: float

    def scores(self, features: Tensor) -> Tensor:
        """Computes the unnormalised log-probabilities (S, C) of ``features`` (S, D)."""
        return ((features - self.mean) * self.scale) @ self.weight + self.bias

    def classify(self, features: Tensor) -> Tensor:
        """Returns the most probable class of each row of ``features`` (S, D): (S,) int64."""
        return self.scores(features).argmax(1)


@torch.no_grad()
def fit_linear(
    features: Tensor,
    labels: Tensor,
    *,
    classes: int,
    generator: torch.Generator,
    strengths: tuple[float, ...] = STRENGTHS,
) -> LinearClassifier:
    """Chooses the L2 strength on a stratified held-out part, then fits the classifier on all samples.

    Args:
        features: (N, D) float32.
        labels: (N,) int64.
        classes: C, the number of classes.
        generator: generator on the CPU that draws the held-out part.
        strengths: candidate strengths of the penalty, strongest first; with a single one, nothing is held out.

    Returns:
        the classifier that minimises mean cross-entropy plus penalty over all N samples; the bias is not penalised.

    Raises:
        DataError: the features are not finite.
    """
    if not features.isfinite().all():
        raise DataError(
            f"features (N={features.shape[0]}, D={features.shape[1]}) to classify are not finite",
            hint="find the step from which it is not; RepresentationMetrics shows it during training",
        )
    mean, deviation = features.mean(0), features.std(0, correction=0)
    scale = torch.where(deviation > 1e-7 * deviation.max(), 1 / deviation, 0)
    features = (features - mean) * scale
    problem = _Problem(features, labels, classes)
    best, weight = strengths[0], features.new_zeros(features.shape[1] + 1, classes)
    if len(strengths) > 1:
        held_out = stratified(labels.cpu(), HELD_OUT, generator).to(labels.device)  # (N,) bool
        best, weight = _choose(problem, held_out, strengths, weight)
    weight = problem.minimise(best, weight)
    return LinearClassifier(mean=mean, scale=scale, weight=weight[:-1], bias=weight[-1], strength=best)


def stratified(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Draws a random part with ``share`` of each class from ``labels`` (N,): (N,) bool, true = in the part.

    A class with a single sample is not in the part; every other class has at least one sample in it.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]  # (N,), one class after the other
    sizes = labels.bincount()  # (C,)
    numbers = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[labels[by_class]]  # (N,), from 0 in each class
    counts = torch.where(sizes > 1, (share * sizes.double()).round().clamp(min=1), 0)  # (C,)
    part = torch.zeros(len(labels), dtype=torch.bool)
    part[by_class[numbers < counts[labels[by_class]]]] = True
    return part


def _choose(problem: _Problem, held_out: Tensor, strengths: tuple[float, ...], weight: Tensor) -> tuple[float, Tensor]:
    """Returns the strength with the best accuracy on ``held_out`` (N,) bool, and its weight (D + 1, C)."""
    known = problem.part(~held_out)
    unknown = problem.part(held_out)
    best, best_weight, best_correct, worse = strengths[0], weight, -1, 0
    for strength in strengths:  # each fit starts from the solution of the previous one, which is close
        weight = known.minimise(strength, weight)
        correct = int((unknown.scores(weight).argmax(1) == unknown.labels).sum())
        if correct > best_correct:
            best, best_weight, best_correct, worse = strength, weight, correct, 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    return best, best_weight


class _Problem:
    """The penalised cross-entropy of a linear classifier, with a solver for its minimum.

    Features are often strongly correlated (such as neighbouring pixels), and plain L-BFGS then needs thousands of
    passes. The solver changes coordinates so that the Hessian is the identity at the start, where every class is
    equally probable and the Hessian is covariance / C + λ. L-BFGS then needs a few dozen passes to the same minimum.

    Args:
        features: (N, D), standardised.
        labels: (N,) int64.
        classes: C, the number of classes.
        covariance: (D, D), covariance of the features; None computes it, unless D is too large.
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int, covariance: Tensor | None = None) -> None:
        self.features, self.labels, self.classes = features, labels, classes
        if covariance is None and features.shape[1] <= WIDEST_WHITENED:
            covariance = features.T @ features / len(features)
        self.covariance = covariance

    def part(self, rows: Tensor) -> _Problem:
        """Returns the same problem on the samples that are true in ``rows`` (N,) bool."""
        return _Problem(self.features[rows], self.labels[rows], self.classes, self.covariance)

    def scores(self, weight: Tensor) -> Tensor:
        """Computes the scores (N, C) for ``weight`` (D + 1, C), whose last row is the bias."""
        return torch.addmm(weight[-1], self.features, weight[:-1])

    def minimise(self, strength: float, start: Tensor) -> Tensor:
        """Returns the weight (D + 1, C) at the minimum; the search begins at ``start`` (D + 1, C)."""
        root = self._root(strength)
        point = self._to_round(start, root)
        optimizer = torch.optim.LBFGS(
            [point],
            max_iter=200,
            tolerance_grad=1e-6,
            tolerance_change=1e-7,
            history_size=10,
            line_search_fn="strong_wolfe",
        )
        one_hot = torch.nn.functional.one_hot(self.labels, self.classes).to(self.features.dtype)  # (N, C)

        def closure() -> Tensor:
            weight = self._from_round(point, root)
            log_probabilities = self.scores(weight).log_softmax(1)  # (N, C)
            penalty = strength / 2 * weight[:-1].square().sum()
            loss = penalty - (log_probabilities * one_hot).sum() / len(one_hot)
            error = (log_probabilities.exp() - one_hot) / len(one_hot)  # (N, C)
            slope = self.features.T @ error + strength * weight[:-1]  # (D, C)
            point.grad = self._slope_to_round(slope, error.sum(0), root)
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]  # gradients by hand, because callers may have disabled autograd
        return self._from_round(point, root)

    def _root(self, strength: float) -> Tensor | None:
        if self.covariance is None:
            return None
        hessian = self.covariance / self.classes
        ridge = max(strength, 1e-4)  # relative to variance 1; below it, the factorisation often fails in float32
        while True:
            root: Tensor
            root, failed = torch.linalg.cholesky_ex(hessian + ridge * torch.eye(len(hessian)).to(hessian))
            if not failed:
                return root
            ridge *= 10

    def _from_round(self, point: Tensor, root: Tensor | None) -> Tensor:
        if root is None:
            return point.clone()
        weight = torch.linalg.solve_triangular(root.T, point[:-1], upper=True)
        return torch.cat([weight, point[-1:] * self.classes**0.5])

    def _to_round(self, weight: Tensor, root: Tensor | None) -> Tensor:
        if root is None:
            return weight.clone()
        return torch.cat([root.T @ weight[:-1], weight[-1:] / self.classes**0.5])

    def _slope_to_round(self, slope: Tensor, bias_slope: Tensor, root: Tensor | None) -> Tensor:
        if root is None:
            return torch.cat([slope, bias_slope[None]])
        slope = torch.linalg.solve_triangular(root, slope, upper=False)
        return torch.cat([slope, bias_slope[None] * self.classes**0.5])
