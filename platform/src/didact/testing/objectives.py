"""What every objective promises."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from didact.learner import Learner, add_counts
from didact.tensors import Batch
from didact.testing.closeness import TOLERANCE, assert_close, assert_finite
from didact.testing.examples import Case
from didact.testing.rules import NotJudged

SAMPLES = 4


def check_terms(case: Case) -> None:
    """Each term is a scalar sum over what ``counts`` counts on the host."""
    learner, batch = case.learner().eval(), case.batch(range(SAMPLES))
    counts = learner.objective.counts(batch)
    assert counts, "counts is empty: there is no term"
    wrong = {name: count for name, count in counts.items() if not isinstance(count, int)}
    assert not wrong, f"counts are numbers of the host, got {wrong}"
    empty = [name for name, count in counts.items() if count <= 0]
    assert not empty, f"{empty} count nothing"
    _, loss = learner(batch, counts)
    assert set(loss.terms) == set(counts), f"the terms are {sorted(loss.terms)}, the counts {sorted(counts)}"
    for name, term in loss.terms.items():
        assert term.ndim == 0, f"the term {name} is {tuple(term.shape)}, not a scalar"
        assert_finite(term, f"the term {name}")
    for name, values in (("predictions", loss.predictions), ("targets", loss.targets)):
        if values is not None:
            assert values.ndim == 2, f"{name} are (N, D), got {tuple(values.shape)}"
            assert not values.requires_grad, f"{name}, which are for looking at, carry a gradient"
    carrying = [name for name, scalar in loss.scalars.items() if scalar.requires_grad]
    assert not carrying, f"{carrying}, which are for logging, carry a gradient"


def check_gradients(case: Case) -> None:
    """The gradient reaches the heads and the student, and nothing that makes targets unless it learns."""
    learner, batch = case.learner().eval(), case.batch(range(SAMPLES))
    _loss(learner, batch, learner.objective.counts(batch)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in learner.objective.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"no gradient reaches its {name}"
            assert_finite(parameter.grad, f"the gradient of its {name}")
    reached = [name for name, parameter in learner.network.named_parameters() if parameter.grad is not None]
    assert reached, "no gradient reaches the student"
    if not case.example.learns:
        taught = [name for name, parameter in learner.targets.named_parameters() if parameter.grad is not None]
        assert not taught, f"a gradient reaches what makes the targets: {taught[:3]}"


def check_split(case: Case) -> None:
    """The losses and gradients of a batch's parts add up to those of the whole."""
    if whole_batch := case.experiment.needs_whole_batch():
        raise NotJudged(f"what {whole_batch} computes is a function of the whole batch")
    learner, whole = case.learner().eval(), case.batch(range(SAMPLES))
    counts = learner.objective.counts(whole)
    total = _loss(learner, whole, counts)
    total.backward()  # type: ignore[no-untyped-call]
    gradients = _gradients(learner)
    parts = [case.batch(range(3)), case.batch(range(3, SAMPLES))]  # uneven on purpose
    totals = add_counts(learner.objective.counts(part) for part in parts)
    assert totals == dict(counts), f"the counts of parts add up to {totals}, that of the whole is {dict(counts)}"
    learner.zero_grad()
    losses = []
    for part in parts:
        loss = _loss(learner, part, totals)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    assert_close(torch.stack(losses).sum(), total.detach(), "the losses of parts, added up, and that of the whole")
    for name, gradient in _gradients(learner).items():
        of_whole = gradients[name]
        tolerance = TOLERANCE * max(1.0, float(of_whole.abs().max()) if of_whole.numel() else 1.0)
        assert_close(gradient, of_whole, f"the gradient of {name}, of parts and of the whole", tolerance)


@torch.no_grad()
def check_leak(case: Case) -> None:
    """Predictions are made of the student's contexts alone: other content that it did not see changes none."""
    if case.experiment.masker is None:
        raise NotJudged("nothing is masked")
    learner, batch = case.learner().eval(), case.batch(range(SAMPLES))
    passes = tuple(learner.network(view) for view in batch.views)
    targets = learner.targets(passes, learner.network)
    before = learner.objective(passes, targets)
    changed = tuple(
        attrs.evolve(
            one,
            tokens=attrs.evolve(one.tokens, features=one.tokens.features + 3.0),
            view=attrs.evolve(one.view, content=torch.roll(one.view.content, 1, 0)),
        )
        for one in passes
    )
    after = learner.objective(changed, targets)
    if before.predictions is None or after.predictions is None:
        raise NotJudged("it does not show its predictions")
    assert_close(after.predictions, before.predictions, "predictions before and after other content behind the masks")


def _loss(learner: Learner, batch: Batch, totals: dict[str, int] | object) -> Tensor:
    total: Tensor
    total, _ = learner(batch, totals)
    return total


def _gradients(learner: Learner) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}
