"""The rules that every objective must follow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor

from didact.errors import DidactError, SpecError
from didact.learner import Learner, add_counts
from didact.tensors import Batch
from didact_kit.closeness import TOLERANCE, assert_close, assert_finite
from didact_kit.examples import Case, Example
from didact_kit.rules import NotJudged, place_of
from didact_kit.tiny import SplitMasker, TinyEncoder

SAMPLES = 4


def check_terms(case: Case) -> None:
    """Checks that each term is a scalar sum over the items that ``num_targets`` counts on the host."""
    learner, batch = case.learner().eval(), case.batch(range(SAMPLES))
    counts = learner.objective.num_targets(batch)
    assert counts, "num_targets is empty: there is no term"
    wrong = {name: count for name, count in counts.items() if not isinstance(count, int)}
    assert not wrong, f"num_targets must give ints, got {wrong}"
    empty = [name for name, count in counts.items() if count <= 0]
    assert not empty, f"num_targets is 0 or less for {empty}"
    _, loss = learner(batch, counts)
    assert set(loss.terms) == set(counts), f"the terms are {sorted(loss.terms)}, and num_targets names {sorted(counts)}"
    for name, term in loss.terms.items():
        assert term.ndim == 0, f"the term {name} must be a scalar, got {tuple(term.shape)}"
        assert_finite(term, f"the term {name}")
    for name, values in (("predictions", loss.predictions), ("targets", loss.targets)):
        if values is not None:
            assert values.ndim == 2, f"{name} must be (N, D), got {tuple(values.shape)}"
            assert not values.requires_grad, f"{name} carry a gradient; detach them"
    carrying = [name for name, scalar in loss.scalars.items() if scalar.requires_grad]
    assert not carrying, f"the scalars {carrying} carry a gradient; detach them"


def check_gradients(case: Case) -> None:
    """Checks that the gradient reaches the heads and the student, and the target builder only if it learns."""
    learner, batch = case.learner().eval(), case.batch(range(SAMPLES))
    _loss(learner, batch, learner.objective.num_targets(batch)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in learner.objective.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"no gradient reaches its {name}"
            assert_finite(parameter.grad, f"the gradient of its {name}")
    reached = [name for name, parameter in learner.network.named_parameters() if parameter.grad is not None]
    assert reached, "no gradient reaches the student"
    if not case.example.learns:
        taught = [name for name, parameter in learner.targets.named_parameters() if parameter.grad is not None]
        assert not taught, f"a gradient reaches the target builder: {taught[:3]}"


def check_split(case: Case) -> None:
    """Checks that the losses and gradients of a batch's parts add up to those of the whole batch."""
    if whole_batch := case.experiment.needs_whole_batch():
        raise NotJudged(f"{whole_batch} computes a function of the whole batch")
    if case.kind == "objective":
        try:
            check_padding(case)
        except AssertionError as error:
            raise NotJudged("padding changes the loss, which the rule 'padding' reports") from error
        except NotJudged:
            pass
    try:
        _require_sum(case)
    except AssertionError as error:
        if case.kind == "objective" and _adds_up_without_class_token(case):
            raise NotJudged("parts add up without a class token, which the rule 'indices' reports") from error
        raise


def _adds_up_without_class_token(case: Case) -> bool:
    encoder = case.example.encoder
    if not getattr(encoder, "class_token", False):
        return False
    with contextlib.suppress(DidactError, AssertionError, NotJudged):
        _require_sum(Case(attrs.evolve(case.example, encoder=encoder.evolve(class_token=False)), case.kind))
        return True
    return False


def _require_sum(case: Case) -> None:
    learner, whole = case.learner().train(not case.draws), case.batch(range(SAMPLES))
    counts = learner.objective.num_targets(whole)
    total = _loss(learner, whole, counts)
    total.backward()  # type: ignore[no-untyped-call]
    gradients = _gradients(learner)
    again = _loss(learner, whole, counts).detach()
    if not torch.equal(again, total.detach()):
        raise NotJudged("two passes over the whole batch differ, which the rule 'steps' or 'skipped' reports")
    parts = [case.batch(range(3)), case.batch(range(3, SAMPLES))]  # deliberately uneven
    num_targets = add_counts(learner.objective.num_targets(part) for part in parts)
    assert num_targets == dict(counts), (
        f"num_targets of the parts add up to {num_targets}, and those of the whole batch are {dict(counts)}"
    )
    learner.zero_grad()
    losses = []
    for part in parts:
        try:
            loss = _loss(learner, part, num_targets)
        except Exception as error:  # foreign code, such as a norm over samples
            size, what = len(part.ids), f"{type(error).__name__}: {error} ({place_of(error)})"
            raise AssertionError(f"a part of {size} of {SAMPLES} samples fails: {what}") from error
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    assert_close(torch.stack(losses).sum(), total.detach(), "the summed losses of the parts and that of the whole")
    for name, gradient in _gradients(learner).items():
        of_whole = gradients[name]
        tolerance = TOLERANCE * max(1.0, float(of_whole.abs().max()) if of_whole.numel() else 1.0)
        assert_close(gradient, of_whole, f"the gradient of {name}, of the parts and of the whole batch", tolerance)


@torch.no_grad()
def check_padding(case: Case) -> None:
    """Checks that samples beside longer ones have the loss that each has alone, if those of one size have it, too."""
    if whole_batch := case.experiment.needs_whole_batch():
        raise NotJudged(f"{whole_batch} computes a function of the whole batch")
    learner = case.learner().eval()
    ids = range(len(case.samples.lengths))
    whole = case.batch(range(3))
    if whole.views[0].padding is None:
        raise NotJudged("the example's samples are of one size")
    size = case.samples.content(0).shape
    equal = [index for index in ids if case.samples.content(index).shape == size][:2]
    if not _adds_up(learner, case.batch(equal), [case.batch([index]) for index in equal]):
        raise NotJudged("samples of one size do not add up either, which the rule 'split' reports")
    right = _adds_up(learner, whole, [case.batch([index]) for index in range(3)])
    assert right, "the loss of samples beside longer ones is another than that of each alone"


def _adds_up(learner: Learner, whole: Batch, parts: Sequence[Batch]) -> bool:
    counts = learner.objective.num_targets(whole)
    total = torch.stack([_loss(learner, part, counts) for part in parts]).sum()
    return torch.allclose(total, _loss(learner, whole, counts), atol=TOLERANCE, rtol=TOLERANCE)


@torch.no_grad()
def check_scalars(case: Case) -> None:
    """Checks that no scalar doubles if each sample is in the batch twice: scalars are means, not sums."""
    if case.experiment.needs_whole_batch():
        raise NotJudged("it computes a function of the whole batch")
    learner = case.learner().eval()
    found = []
    for ids in ([*range(SAMPLES)], [*range(SAMPLES)] * 2):
        batch = case.batch(ids)
        found.append(learner(batch, learner.objective.num_targets(batch))[1].scalars)
    if not found[0]:
        raise NotJudged("it has no scalars")
    for name, value in found[0].items():
        one, twice = float(value), float(found[1][name])
        doubled = one != 0 and abs(twice - 2 * one) <= 1e-3 * abs(one)
        assert not doubled, f"the scalar {name} is {one:.6g}, and {twice:.6g} where each sample is in the batch twice"


def check_indices(case: Case) -> None:
    """Checks that parts of a batch add up where two masks share a context, and where a class token comes first."""
    try:
        check_split(case)
    except AssertionError as error:
        raise NotJudged("parts do not add up in its example either, which the rule 'split' reports") from error
    except NotJudged:
        if _adds_up_without_class_token(case):
            raise AssertionError(
                "the losses of a batch's parts add up without a class token, and not with it"
            ) from None
        raise
    for words, example in _others(case.example):
        other = Case(example, case.kind)
        try:
            _require_sum(other)
            if example.masker is not case.example.masker:
                _require_counts(case, other)
        except DidactError:
            continue  # it refuses such masks or sequences
        except AssertionError as error:
            raise AssertionError(f"{words}: {error}") from error.__cause__
        except Exception as error:  # foreign code
            raise AssertionError(f"{words}, it fails: {type(error).__name__}: {error} ({place_of(error)})") from error


def _others(example: Example) -> Iterator[tuple[str, Example]]:
    """Yields the example with two masks for each context, and with a class token, where it has a tiny encoder."""
    if example.masker is not None:
        yield "with two masks for each context", attrs.evolve(example, masker=SplitMasker(masker=example.masker))
    if isinstance(example.encoder, TinyEncoder) and not example.encoder.class_token:
        yield "with a class token before the positions", attrs.evolve(example, encoder=TinyEncoder(class_token=True))


def _require_counts(case: Case, other: Case) -> None:
    """Checks that ``num_targets`` does not count fewer where the same positions are predicted by two masks."""
    one, two = (each.learner().objective.num_targets(each.batch(range(SAMPLES))) for each in (case, other))
    fewer = [name for name, count in one.items() if two[name] < count]
    assert not fewer, f"num_targets gives {two} for the positions for which it gives {one} with one mask"


def check_declaration(case: Case) -> None:
    """Checks that an objective that does not require masks computes a loss, or is refused, without a masker."""
    if case.spec.requires_masks:
        raise NotJudged("its requires_masks is True")
    learner, batch = case.learner(), case.batch()
    _loss(learner, batch, learner.objective.num_targets(batch))  # an error of every pass is raised here
    unmasked = Case(attrs.evolve(case.example, masker=None), case.kind)
    try:
        learner, batch = unmasked.learner(), unmasked.batch()
        counts = learner.objective.num_targets(batch)
        _loss(learner, batch, counts)
    except SpecError as refusal:
        raise NotJudged(f"its experiment is refused without a masker: {refusal.what}") from refusal
    except Exception as error:  # foreign code
        what = f"{type(error).__name__}: {error} ({place_of(error)})"
        raise AssertionError(f"requires_masks is False, and without a masker it fails: {what}") from error


@torch.no_grad()
def check_leak(case: Case) -> None:
    """Checks that predictions depend only on the backbone's output, not on other content of the tokens and the view."""
    if case.experiment.masker is None:
        raise NotJudged("the experiment has no masker")
    learner, batch = case.learner().eval(), case.batch(range(SAMPLES))
    passes = learner.passes(batch)
    targets = learner.targets(batch, passes, learner.network)
    before = learner.objective(batch, passes, targets)
    changed = tuple(
        attrs.evolve(
            one,
            tokens=attrs.evolve(one.tokens, features=one.tokens.features + 3.0),
            view=attrs.evolve(one.view, content=torch.roll(one.view.content, 1, 0)),
        )
        for one in passes
    )
    after = learner.objective(batch, changed, targets)
    if before.predictions is None or after.predictions is None:
        raise NotJudged("its loss has no predictions")
    assert_close(after.predictions, before.predictions, "predictions with two contents of the tokens and the view")


def _loss(learner: Learner, batch: Batch, num_targets: dict[str, int] | object) -> Tensor:
    total: Tensor
    total, _ = learner(batch, num_targets)
    return total


def _gradients(learner: Learner) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}
