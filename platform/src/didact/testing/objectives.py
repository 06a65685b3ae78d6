"""What every objective promises."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from didact.contracts import Masker, Objective, TargetBuilder
from didact.learner import Learner, Network, add_counts
from didact.randomness import seeded
from didact.tensors import Batch
from didact.testing.closeness import assert_close, assert_finite
from didact.testing.tiny import TinyMasker, tiny_batch, tiny_network

SAMPLES = 4


def check_objective(
    objective: Objective,
    targets: TargetBuilder,
    network: Network | None = None,
    masker: Masker | None = None,
    views: int = 1,
) -> None:
    """Takes the loss of a batch, and of its parts, which must add up to it.

    Args:
        objective: to check; with anything random in its heads switched off.
        targets: a builder of targets that it can predict.
        network: the student, over `TinySource`'s samples; tiny by default.
        masker: tiny by default, hiding half.
        views: of each sample.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    network = copy.deepcopy(network if network is not None else tiny_network())
    masker = masker if masker is not None else TinyMasker()
    with seeded(0, "check", "objective"):
        builder = targets.build(network)
        learner = Learner(network, builder, objective.build(network, builder)).eval()
    whole = tiny_batch(range(SAMPLES), masker, views=views)
    total = _check_loss(learner, whole)
    gradients = _gradients(learner)
    if not objective.divisible:
        return
    parts = [tiny_batch(ids, masker, views=views) for ids in (range(3), range(3, SAMPLES))]  # uneven on purpose
    totals = add_counts(learner.objective.counts(part) for part in parts)
    assert totals == dict(learner.objective.counts(whole)), "the counts of parts add up to those of the whole"
    learner.zero_grad()
    losses = []
    for part in parts:
        loss, _ = learner(part, totals)
        loss.backward()
        losses.append(loss.detach())
    assert_close(torch.stack(losses).sum(), total, "the losses of parts add up to that of the whole")
    for name, gradient in _gradients(learner).items():
        assert_close(gradient, gradients[name], f"the gradient of {name} does not depend on how the batch is split")


def _check_loss(learner: Learner, batch: Batch) -> Tensor:
    counts = learner.objective.counts(batch)
    assert counts, "there is a term to count"
    assert all(isinstance(count, int) for count in counts.values()), "counts are numbers of the host"
    assert all(count > 0 for count in counts.values()), f"every term counts something, got {dict(counts)}"
    learner.zero_grad()
    total: Tensor
    total, loss = learner(batch, counts)
    assert set(loss.terms) == set(counts), f"terms {sorted(loss.terms)} and counts {sorted(counts)} have the same names"
    for name, term in loss.terms.items():
        assert term.ndim == 0, f"{name} is a scalar, got {tuple(term.shape)}"
        assert_finite(term, f"{name} is finite")
    for values in (loss.predictions, loss.targets):
        if values is not None:
            assert values.ndim == 2, f"predictions and targets are (N, D), got {tuple(values.shape)}"
            assert not values.requires_grad, "predictions and targets are for looking at: no gradient"
    assert all(not scalar.requires_grad for scalar in loss.scalars.values()), "scalars to log carry no gradient"
    total.backward()  # type: ignore[no-untyped-call]
    heads = list(learner.objective.named_parameters())
    for name, parameter in heads:
        assert not parameter.requires_grad or parameter.grad is not None, f"the gradient does not reach {name}"
    reached = [parameter for parameter in learner.network.parameters() if parameter.grad is not None]
    assert reached, "the gradient reaches the student"
    return total.detach()


def _gradients(learner: Learner) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}
