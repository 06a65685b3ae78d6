"""wav2vec 2.0's loss against transformers and the paper's formulas, and the distractors of a position."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Wav2Vec2ForPreTraining

from didact import (
    AdamW,
    Batch,
    BatchMask,
    BatchSize,
    Experiment,
    Layout,
    Learner,
    Mask,
    Objective,
    SpecError,
    TargetBuilder,
)
from didact.building import build_learner
from didact.learner import add_counts
from didact.loading import collate
from didact.randomness import key
from didact.training import Training
from didact_distill import EMATeacher, MLPHead, TopKTargets
from didact_kit import TinyBackbone, TinyEncoder, TinyMasker, TinySource, TinyTargets, tiny_preflight
from didact_kit.tiny import passes_batch
from didact_masked import Contrastive, QuantizedTargets
from didact_masked.contrasting import draw_distractors

QUANTIZED = QuantizedTargets(width=6, groups=2, codes=5, noise=0.0, dropout=0.0)
TOP = TopKTargets(k=2, teacher=EMATeacher(share="nothing"))


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def experiment_of(objective: Objective, targets: TargetBuilder = QUANTIZED, **training) -> Experiment:
    return Experiment(
        name="contrast",
        source=TinySource(uneven=True),
        encoder=TinyEncoder(),
        masker=TinyMasker(),
        backbone=TinyBackbone(depth=2),
        targets=targets,
        objective=objective,
        training=Training(steps=2, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-2), **training),
    )


def learner_of(objective: Objective, targets: TargetBuilder = QUANTIZED) -> Learner:
    return build_learner(experiment_of(objective, targets)).train()


def batch_of(*predicted: Tensor, ids: list[int] | None = None) -> Batch:
    """Random samples, the first, the second and so on, each behind its own masks (M, T) over its own positions."""
    ids = list(range(len(predicted))) if ids is None else ids
    drawn = [torch.Generator().manual_seed(index) for index in ids]
    contents = [torch.randn(3, masks.shape[1], generator=one) for masks, one in zip(predicted, drawn, strict=True)]
    whole = collate(contents, TinyEncoder())
    view = attrs.evolve(
        whole,
        mask=BatchMask.collate([Mask.hide(masks) for masks in predicted], whole.layout.positions),
        keys=torch.tensor([key(0, "step", 0, index) for index in ids]),
    )
    return Batch(views=(view,), ids=torch.tensor(ids))


def masks_of(*rows: str) -> Tensor:
    """(M, T) bool, written as rows of ``x`` for a masked position and ``.`` for another."""
    return torch.tensor([[letter == "x" for letter in row] for row in rows])


# samples of other lengths, one of which has a row with a single masked position
UNEVEN = (
    masks_of("xx.x.xx..x", "x.xxxx..x."),
    masks_of(".xxx.xx", "...x..."),
    masks_of("xxx.x", "..xxx"),
)


# ── Distractors ──────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def masks(draw, rows: int | None = None) -> list[Tensor]:
    """Of a few samples of any length, each (M, T), with one masked position or more in every row."""
    count = rows or draw(st.integers(1, 3))
    found = []
    for _ in range(draw(st.integers(1, 4))):
        t = draw(st.integers(1, 9))
        bits = [draw(st.lists(st.booleans(), min_size=t, max_size=t)) for _ in range(count)]
        predicted = torch.tensor(bits)
        for row in predicted:
            row[draw(st.integers(0, t - 1))] = True
        found.append(predicted)
    return found


KEYS = st.lists(st.integers(0, 2**63 - 1), min_size=4, max_size=4)


def collated(masks: list[Tensor]) -> BatchMask:
    return BatchMask.collate([Mask.hide(one) for one in masks], max(one.shape[1] for one in masks))


def by_row(mask: BatchMask, others: Tensor) -> dict[tuple[int, int, int], list[int]]:
    """The positions that each (sample, mask, position) is contrasted with; fails where they are of another row."""
    _, m, t = mask.predicted.shape
    found = {}
    for place, chosen in zip(mask.mask_indices.tolist(), mask.mask_indices[others].tolist(), strict=True):
        assert {other // t for other in chosen} == {place // t}
        found[place // t // m, place // t % m, place % t] = [other % t for other in chosen]
    return found


@given(masks(), KEYS, st.integers(1, 12))
def test_distractors_are_other_masked_positions_of_the_row_and_a_lone_one_is_flagged(drawn, keys, count):
    mask = collated(drawn)
    others, any_other = draw_distractors(mask, torch.tensor(keys[: len(drawn)]), count)
    assert others.shape == (mask.count, count)
    for ((sample, row, own), chosen), has_other in zip(by_row(mask, others).items(), any_other.tolist(), strict=True):
        candidates = set(drawn[sample][row].nonzero().flatten().tolist()) - {own}
        assert has_other == bool(candidates)
        assert set(chosen) <= (candidates or {own})


def assert_alike_alone(drawn: list[Tensor], keys: list[int], count: int) -> None:
    mask = collated(drawn)
    together = by_row(mask, draw_distractors(mask, torch.tensor(keys[: len(drawn)]), count)[0])
    alone = {}
    for sample, one in enumerate(drawn):
        mask = collated([one])
        found = by_row(mask, draw_distractors(mask, torch.tensor(keys[sample : sample + 1]), count)[0])
        alone |= {(sample, row, own): chosen for (_, row, own), chosen in found.items()}
    assert alone == together


@given(masks(rows=1), KEYS, st.integers(1, 6))
def test_a_samples_distractors_are_the_same_alone_and_beside_others(drawn, keys, count):
    assert_alike_alone(drawn, keys, count)


@given(masks(), KEYS, st.integers(1, 6))
def test_they_are_the_same_behind_several_masks_too(drawn, keys, count):
    assert_alike_alone(drawn, keys, count)


def test_distractors_are_uniform_over_the_others():
    mask = collated([masks_of("x.xxx.xx", "xxxx...x")] * 50)
    keys = torch.tensor([key(0, "step", index) for index in range(50)])
    others, _ = draw_distractors(mask, keys, 60)
    counts: dict[tuple[int, int], dict[int, int]] = {}
    for (_, row, own), chosen in by_row(mask, others).items():
        seen = counts.setdefault((row, own), {})
        for other in chosen:
            seen[other] = seen.get(other, 0) + 1
    assert len(counts) == 11
    for (row, own), seen in counts.items():
        assert own not in seen
        assert len(seen) == (5 if row == 0 else 4)
        assert chisquare(list(seen.values())).pvalue > 0.01 / 11


def test_other_keys_samples_masks_and_positions_draw_other_distractors():
    mask = collated([torch.ones(2, 30, dtype=torch.bool)] * 2)
    others, _ = draw_distractors(mask, torch.tensor([3, 4]), 40)
    again, _ = draw_distractors(mask, torch.tensor([3, 5]), 40)
    found, changed = (by_row(mask, one) for one in (others, again))
    assert all((found[where] == changed[where]) == (where[0] == 0) for where in found)
    assert len({tuple(chosen) for chosen in found.values()}) == len(found) == 120


def test_without_keys_as_in_an_evaluation_each_sample_draws_by_its_place():
    mask = collated([torch.ones(1, 30, dtype=torch.bool)] * 2)
    found = by_row(mask, draw_distractors(mask, None, 40)[0])
    assert found == by_row(mask, draw_distractors(mask, None, 40)[0])
    assert found[0, 0, 0] != found[1, 0, 0]


# ── The loss ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def make_exact(module) -> None:
    """Rounds what targets are made of, so that the same codes give the same bits: transformers compares values."""
    with torch.no_grad():
        for parameter in (module.codebooks, *module.projection.parameters()):
            parameter.copy_((parameter * 64).round() / 64)


def with_head(theirs: Wav2Vec2ForPreTraining, learner: Learner, monkeypatch) -> Wav2Vec2ForPreTraining:
    """transformers' objective with the learner's head too, in training, and without the Gumbel noise."""
    theirs.project_hid.load_state_dict(learner.objective.head.layers.state_dict())

    def likeliest(logits, tau, hard):
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)

    monkeypatch.setattr(torch.nn.functional, "gumbel_softmax", likeliest)
    return theirs.train()


def their_indices(mask: BatchMask, others: Tensor) -> Tensor:
    """The same distractors as transformers wants them: (R, T, K) into rows laid end to end."""
    rows, t = mask.predicted.flatten(0, 1).shape
    indices = torch.zeros(rows * t, others.shape[1], dtype=torch.long)
    indices[mask.mask_indices] = mask.mask_indices[others]
    return indices.view(rows, t, -1)


@pytest.mark.parametrize("predicted", [tuple(one[:1] for one in UNEVEN), UNEVEN], ids=["one mask", "two masks"])
@pytest.mark.parametrize("diversity", [0.1, 0.0])
def test_the_loss_is_transformers(theirs_like, monkeypatch, predicted, diversity):
    learner = learner_of(Contrastive(distractors=7, diversity=diversity, temperature=0.2))
    make_exact(learner.targets)
    batch = batch_of(*predicted)
    view, mask = batch.views[0], batch.views[0].mask
    student = learner.network(view)
    targets = learner.targets(passes_batch((student,)), (student,), learner.network)
    loss = learner.objective(passes_batch((student,)), (student,), targets)

    others, _ = draw_distractors(mask, view.keys, 7)
    theirs = with_head(
        theirs_like(
            learner.targets,
            feat_quantizer_dropout=0.0,
            diversity_loss_weight=diversity,
            contrastive_logits_temperature=0.2,
        ),
        learner,
        monkeypatch,
    )
    theirs.wav2vec2 = nn.Identity()
    outputs = SimpleNamespace(
        last_hidden_state=student.backbone_output.output,
        extract_features=student.tokens.latents.repeat_interleave(mask.masks, 0),
        hidden_states=None,
        attentions=None,
    )
    monkeypatch.setattr(theirs.wav2vec2, "forward", lambda *_, **__: outputs)
    expected = theirs(
        None,
        mask_time_indices=mask.predicted.flatten(0, 1),
        sampled_negative_indices=their_indices(mask, others),
    )
    torch.testing.assert_close(loss.terms["contrast"], expected.contrastive_loss)
    torch.testing.assert_close(torch.stack(list(loss.terms.values())).sum(), expected.loss)
    if diversity:
        torch.testing.assert_close(loss.scalars["quantizer/perplexity"], expected.codevector_perplexity.detach())
    else:  # a perplexity of parts of a batch is not that of the batch
        assert set(loss.scalars) == {"predict/accuracy"}
    assert set(loss.terms) == ({"contrast", "diversity"} if diversity else {"contrast"})
    assert learner.objective.num_targets(batch) == dict.fromkeys(loss.terms, int(mask.predicted.sum()))

    expected.loss.backward()
    mine = torch.autograd.grad(torch.stack(list(loss.terms.values())).sum(), learner.objective.head.layers.weight)[0]
    torch.testing.assert_close(mine, theirs.project_hid.weight.grad, atol=1e-5, rtol=1e-4)


def test_the_logits_are_transformers_and_a_distractor_that_is_the_target_is_none():
    learner = learner_of(Contrastive(distractors=9, temperature=0.3))
    batch = batch_of(*UNEVEN)
    view, mask = batch.views[0], batch.views[0].mask
    make_exact(learner.targets)
    with torch.no_grad():
        learner.targets.logits.bias[0] = learner.targets.logits.bias[5] = 2.0  # so that codes are the same now and then
        student = learner.network(view)
        (target,) = learner.targets(passes_batch((student,)), (student,), learner.network)
        predictions = learner.objective.head(student.backbone_output, mask, None)
        found = learner.objective._logits(predictions, target, view)
    others, _ = draw_distractors(mask, view.keys, 9)
    own = target.values.flatten(0, 1)[mask.target_indices]  # (N, D)
    negatives = own[others].transpose(0, 1)  # (K, N, D)
    expected = Wav2Vec2ForPreTraining.compute_contrastive_logits(own[None], negatives, predictions, 0.3)  # (1 + K, N)
    same = (own == negatives).all(-1)
    assert 0.05 < same.float().mean() < 0.95
    expected[1:][same] = float("-inf")
    torch.testing.assert_close(found, expected.T)


def test_the_accuracy_is_the_share_of_positions_whose_own_target_is_the_most_alike():
    learner = learner_of(Contrastive(distractors=4))
    batch = batch_of(*UNEVEN)
    view, mask = batch.views[0], batch.views[0].mask
    student = learner.network(view)
    (target,) = learner.targets(passes_batch((student,)), (student,), learner.network)
    logits = learner.objective._logits(learner.objective.head(student.backbone_output, mask, None), target, view)
    loss = learner.objective(passes_batch((student,)), (student,), (target,))
    expected = sum(max(row) == row[0] for row in logits.tolist()) / len(logits)
    assert 0 < expected < 1
    assert float(loss.scalars["predict/accuracy"]) == pytest.approx(expected)
    torch.testing.assert_close(loss.targets, target.values.detach().flatten(0, 1)[mask.target_indices])
    assert loss.predictions.shape == loss.targets.shape


def by_hand(learner: Learner, batch: Batch, spec: Contrastive) -> float:
    """Equation 3 of the paper, position by position."""
    view, mask = batch.views[0], batch.views[0].mask
    with torch.no_grad():
        student = learner.network(view)
        (target,) = learner.targets(passes_batch((student,)), (student,), learner.network)
        predicted = learner.objective.head.layers(student.backbone_output.output)  # (R, T, D)
    others, _ = draw_distractors(mask, view.keys, spec.distractors)
    total = 0.0
    for (sample, row, own), chosen in by_row(mask, others).items():
        context = predicted[sample * mask.masks + row, own]
        alike = [F.cosine_similarity(context, target.values[sample, place], dim=0) for place in (own, *chosen)]
        scores = [math.exp(float(one) / spec.temperature) for one in alike]
        if mask.predicted[sample, row].sum() == 1:
            scores = scores[:1]
        total -= math.log(scores[0] / sum(scores))
    return total / mask.count


@pytest.mark.parametrize("targets", [TOP, TinyTargets()])
def test_with_a_teachers_targets_it_is_the_papers_equation(targets):
    spec = Contrastive(distractors=5, diversity=0.0, head=MLPHead(initialization="normal"))
    learner = learner_of(spec, targets).eval()
    batch = batch_of(*UNEVEN)
    total, loss = learner(batch, learner.objective.num_targets(batch))
    assert total.item() == pytest.approx(by_hand(learner, batch, spec), rel=1e-4)
    assert set(loss.terms) == {"contrast"}
    assert "quantizer/perplexity" not in loss.scalars


def test_two_views_add_up():
    learner = learner_of(Contrastive(distractors=3, diversity=0.0)).eval()
    one, other = (batch_of(*UNEVEN, ids=ids).views[0] for ids in ([0, 1, 2], [3, 4, 5]))
    both = Batch(views=(one, other), ids=torch.arange(3))
    alone = [Batch(views=(view,), ids=torch.arange(3)) for view in (one, other)]
    counts = learner.objective.num_targets(both)
    assert counts == add_counts(learner.objective.num_targets(batch) for batch in alone)
    expected = sum(learner(batch, counts)[0].item() for batch in alone)
    assert learner(both, counts)[0].item() == pytest.approx(expected, rel=1e-5)


# ── A step ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "predicted",
    [UNEVEN, (masks_of("x...", ".x.."), masks_of("..x", "x.."))],
    ids=["some rows alone", "all rows alone"],
)
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_step_gives_codebooks_head_and_network_a_finite_gradient(predicted, noise):
    learner = learner_of(Contrastive(distractors=5), QUANTIZED.evolve(noise=noise, dropout=0.1))
    batch = batch_of(*predicted)
    total, _ = learner(batch, learner.objective.num_targets(batch))
    assert torch.isfinite(total)
    total.backward()
    gradients = {name: parameter.grad for name, parameter in learner.named_parameters()}
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients.values())
    contrasted = any(bool(row.sum() > 1) for one in predicted for row in one)
    for name in ("targets.codebooks", "objective.head.layers.weight", "network.encoder.mask_embedding"):
        assert bool(gradients[name].any()) == contrasted, name
    assert gradients["targets.logits.weight"].any()  # the diversity's, in any case


@pytest.mark.parametrize("masks", [1, 2])
def test_parts_of_a_batch_add_up_to_the_whole_however_its_samples_are_padded(masks):
    learner = learner_of(Contrastive(distractors=5, diversity=0.0))
    each = [predicted[:masks] for predicted in UNEVEN]
    whole = batch_of(*each)
    num_targets = learner.objective.num_targets(whole)
    learner(whole, num_targets)[0].backward()
    expected = {name: parameter.grad.clone() for name, parameter in learner.named_parameters()}
    learner.zero_grad()
    for index, predicted in enumerate(each):
        learner(batch_of(predicted, ids=[index]), num_targets)[0].backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(learner.get_parameter(name).grad, gradient, msg=name, atol=1e-5, rtol=1e-4)


def test_the_diversity_pulls_the_codes_apart():
    """A few steps on the diversity alone make the mean of the probabilities use more codes."""
    learner = learner_of(Contrastive(distractors=3, diversity=1.0))
    torch.nn.init.constant_(learner.targets.logits.bias[::5], 4.0)  # one code of each group is nearly always taken
    batch = batch_of(*UNEVEN)
    optimizer = torch.optim.SGD(learner.targets.parameters(), lr=1.0)
    seen = []
    for _ in range(50):
        _, loss = learner(batch, learner.objective.num_targets(batch))
        seen.append(float(loss.scalars["quantizer/perplexity"]))
        optimizer.zero_grad()
        (loss.terms["diversity"] / batch.views[0].mask.count).backward()
        optimizer.step()
    assert seen[0] < 5 < 9 < seen[-1] <= 10 + 1e-4


# ── Refusals and warnings ────────────────────────────────────────────────────────────────────────────────────────────


def test_it_supports_accumulation_exactly_without_a_diversity():
    assert not Contrastive().supports_accumulation
    assert Contrastive(diversity=0.0).supports_accumulation
    with pytest.raises(SpecError, match="gradient_accumulation_steps must be 1 with Contrastive, got 2"):
        experiment_of(Contrastive(distractors=3), gradient_accumulation_steps=2)
    assert (
        experiment_of(
            Contrastive(distractors=3, diversity=0.0), gradient_accumulation_steps=2
        ).training.gradient_accumulation_steps
        == 2
    )


def test_a_diversity_of_targets_without_codebooks_is_refused_with_a_mend():
    with pytest.raises(SpecError, match=r"Contrastive\.diversity needs codebooks, and TopKTargets has none") as caught:
        build_learner(experiment_of(Contrastive(), TOP))
    assert caught.value.where == "objective.diversity"
    assert "QuantizedTargets" in caught.value.hint


@pytest.mark.parametrize(
    ("field", "value"), [("distractors", 0), ("temperature", 0.0), ("temperature", -1.0), ("diversity", -0.1)]
)
def test_fields_that_make_no_sense_are_refused_by_their_name(field, value):
    with pytest.raises(SpecError, match=rf"Contrastive\.{field} must be"):
        Contrastive(**{field: value})


def test_without_a_masker_it_says_so():
    learner, batch = learner_of(Contrastive(distractors=3)), batch_of(*UNEVEN)
    whole = attrs.evolve(batch, views=(attrs.evolve(batch.views[0], mask=None),))
    with pytest.raises(SpecError, match="Contrastive predicts masked positions, and the experiment has no masker"):
        learner.objective.num_targets(whole)


def test_samples_with_fewer_positions_than_distractors_are_warned_of():
    (found,) = Contrastive(distractors=10).examine(tiny_preflight(Layout((8,)), Layout((200,))))
    assert (found.severity, found.where) == ("warning", "distractors")
    assert "the shortest sample has 8 positions" in found.says
    assert not list(Contrastive(distractors=10).examine(tiny_preflight(Layout((11,)), Layout((200,)))))
