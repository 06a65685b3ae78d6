"""Masked cross-entropy against its definition and against RoBERTa's loss and gradients in transformers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs
import pytest
import torch
from torch import Tensor, nn
from transformers import RobertaConfig, RobertaForMaskedLM

from didact import (
    Batch,
    BatchMask,
    Corruption,
    Learner,
    Mask,
    Masking,
    Network,
    Signal,
    SpecError,
    StudentPass,
    Target,
    collate,
)
from didact_distill import LinearHead
from didact_kit import TinyMasker, TinySource, TinyWords, tiny_batch, tiny_network
from didact_kit.tiny import passes_batch
from didact_masked import CosineHead, FeatureTargets, InputIds, MaskedCrossEntropy, MaskTokenDecoder, TiedHead
from didact_masked.classifying import MaskedCrossEntropyModule
from didact_text import TokenEmbeddings, TokenMasker
from didact_text.bpe import FIRST_WORD, PAD
from didact_transformer import Transformer

CLASSES = 5
WORDS = 40
TEXT = Signal(kind="tokens", axes=(None,), vocabulary=WORDS)


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# ── by definition ────────────────────────────────────────────────────────────────────────────────────────────────────


class Classes(nn.Module):
    """The part of a target builder that an objective reads when it is built."""

    width, kind, level = CLASSES, "ids", "position"


def build(network: Network, head=None) -> MaskedCrossEntropyModule:
    head = LinearHead(initialization="uniform") if head is None else head
    return MaskedCrossEntropy(head=head).build(network, Classes())


def ids_for(batch: Batch) -> tuple[Target, ...]:
    """A random class for each position of each view; -1 at padding, where nobody may look."""
    targets = []
    for index, view in enumerate(batch.views):
        ids = torch.randint(CLASSES, (len(view.content), view.layout.positions))
        padding = view.padding if view.padding is not None else torch.zeros_like(ids, dtype=torch.bool)
        targets.append(Target(view=index, values=ids.masked_fill(padding, -1)))
    return tuple(targets)


def passes_of(network: Network, batch: Batch) -> tuple[StudentPass, ...]:
    return tuple(network(view) for view in batch.views)


@pytest.mark.parametrize("views", [1, 2])
def test_it_is_the_mean_of_minus_the_log_of_the_true_classs_share_at_masked_positions(views: int) -> None:
    network = tiny_network()
    batch = tiny_batch(masker=TinyMasker(masks=2), views=views)
    assert batch.views[0].padding is not None
    objective, passes, targets = build(network), passes_of(network, batch), ids_for(batch)
    loss = objective(passes_batch(passes), passes, targets)
    weight, bias = objective.head.layers.weight, objective.head.layers.bias
    total, right, count = 0.0, 0, 0
    for student, target in zip(passes, targets, strict=True):
        for b, m, t in student.view.mask.predicted.nonzero().tolist():
            logits = (weight @ student.backbone_output.output[2 * b + m, t] + bias).tolist()
            true = int(target.values[b, t])
            total -= math.log(math.exp(logits[true]) / sum(map(math.exp, logits)))
            right += max(range(CLASSES), key=logits.__getitem__) == true
            count += 1
    assert 0 < right < count
    assert loss.terms.keys() == objective.num_targets(batch).keys() == {"cross_entropy"}
    assert objective.num_targets(batch)["cross_entropy"] == count
    assert float(loss.terms["cross_entropy"].detach()) == pytest.approx(total, rel=1e-5)
    assert float(loss.scalars["predict/accuracy"]) == pytest.approx(right / count)


@pytest.mark.parametrize(("certainty", "accuracy"), [(50.0, 1.0), (-50.0, 0.0)])
def test_who_is_certain_of_every_true_class_is_right_everywhere(certainty: float, accuracy: float) -> None:
    network, batch = tiny_network(), tiny_batch(masker=TinyMasker(masks=2))
    (ids,) = ids_for(batch)
    objective, mask = build(network), batch.views[0].mask
    true = nn.functional.one_hot(ids.values.flatten()[mask.target_indices], CLASSES).float()
    objective.head.forward = lambda context, mask, padding: certainty * true
    loss = objective(batch, passes_of(network, batch), (ids,))
    assert float(loss.scalars["predict/accuracy"]) == accuracy
    # the true class has all, or nothing, which leaves 50 to each other one
    expected = 0.0 if certainty > 0 else mask.count * (50 + math.log(CLASSES - 1))
    assert float(loss.terms["cross_entropy"]) == pytest.approx(expected, abs=1e-3)


def test_what_is_predicted_of_other_positions_costs_nothing() -> None:
    network, batch = tiny_network(), tiny_batch(masker=TinyMasker(masks=2))
    objective, (ids,) = build(network), ids_for(batch)
    passes = passes_of(network, batch)
    before = objective(passes_batch(passes), passes, (ids,)).terms["cross_entropy"]
    read = batch.views[0].mask.predicted.any(1)  # (B, T): behind one mask at least
    assert not read.all()
    other = attrs.evolve(ids, values=torch.where(read, ids.values, (ids.values + 1) % CLASSES))
    assert torch.equal(objective(passes_batch(passes), passes, (other,)).terms["cross_entropy"], before)


def test_a_view_that_nothing_is_known_of_is_not_taken_for_perfect() -> None:
    network, batch = tiny_network(), tiny_batch(masker=TinyMasker(), views=2)
    with pytest.raises(
        SpecError,
        match=r"MaskedCrossEntropy predicts one target for each view, but the target builder makes 0 for view 1",
    ):
        build(network)(batch, passes_of(network, batch), ids_for(batch)[:1])


class Other(Classes):
    """Targets that are no ids of positions."""

    def __init__(self, kind: str, level: str) -> None:
        super().__init__()
        self.kind, self.level = kind, level


@pytest.mark.parametrize(("kind", "level"), [("vectors", "position"), ("ids", "sample"), ("vectors", "sample")])
def test_targets_that_are_no_ids_of_positions_are_refused_when_it_is_built(kind, level) -> None:
    with pytest.raises(
        SpecError, match=f"MaskedCrossEntropy predicts ids per position, and Other gives {kind} per {level}"
    ) as caught:
        MaskedCrossEntropy().build(tiny_network(), Other(kind, level))
    assert "InputIds" in caught.value.hint


def test_pixels_are_no_ids() -> None:
    network = tiny_network(uneven=False)
    with pytest.raises(SpecError, match="FeatureTargets gives vectors per position"):
        MaskedCrossEntropy().build(network, FeatureTargets().build(network))


def test_without_a_masker_it_says_so_before_and_while_it_counts() -> None:
    network, batch = tiny_network(), tiny_batch()
    objective = build(network)
    with pytest.raises(
        SpecError, match="MaskedCrossEntropy predicts masked positions, and the experiment has no masker"
    ):
        objective.num_targets(batch)
    with pytest.raises(SpecError, match="has no masker"):
        objective(batch, passes_of(network, batch), ids_for(batch))


@pytest.mark.parametrize("head", [LinearHead(), CosineHead(width=6)])
def test_heads_that_read_the_output_there_refuse_dropped_positions(head) -> None:
    network = tiny_network()
    network.masking = Masking.of("drop")
    with pytest.raises(SpecError, match="the masker drops the positions"):
        build(network, head)


def test_a_head_that_does_not_fit_is_named_by_its_field() -> None:
    with pytest.raises(SpecError, match="no table of embeddings") as caught:
        build(tiny_network(), TiedHead())
    assert caught.value.where == "head"


def test_decoded_from_what_was_not_dropped_a_sample_costs_the_same_alone_as_beside_longer_ones() -> None:
    blocks = Transformer(width=8, depth=1, heads=2, norm="pre", dropout=0.0, attention_dropout=0.0)
    network = Network(TinyWords().build(TEXT), blocks.build(8, None), TEXT, None).eval()
    targets = InputIds().build(network)
    head = MaskTokenDecoder(width=8, backbone=blocks)
    objective = MaskedCrossEntropy(head=head).build(network, targets).eval()
    nn.init.normal_(objective.head.predict.weight)
    contents, masker = [torch.randint(WORDS, (size,)) for size in (4, 11, 7)], TinyMasker(masks=2, corruption="drop")

    def terms(numbers: list[int]) -> tuple[float, float, int]:
        generators = [torch.Generator().manual_seed(number) for number in numbers]
        view = collate([contents[number] for number in numbers], TinyWords(), masker, generators)
        passes = (network(view),)
        loss = objective(passes_batch(passes), passes, targets(passes_batch(passes), passes, network))
        count = objective.num_targets(Batch(views=(view,), ids=torch.tensor(numbers)))["cross_entropy"]
        right = float(loss.scalars["predict/accuracy"]) * count
        return float(loss.terms["cross_entropy"].detach()), right, count

    together, alone = terms([0, 1, 2]), [terms([number]) for number in range(3)]
    assert together == pytest.approx([sum(values) for values in zip(*alone, strict=True)], rel=1e-5)
    assert together[2] == 2 * (2 + 5 + 3)


# ── a whole RoBERTa ──────────────────────────────────────────────────────────────────────────────────────────────────

ROBERTA = RobertaConfig(
    vocab_size=WORDS,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=2 + 20,
    type_vocab_size=1,
    pad_token_id=PAD,
    layer_norm_eps=1e-5,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    attn_implementation="eager",
)


def names() -> dict[str, list[str]]:
    """Which of their weights make up each of ours."""
    layers = {
        "network.encoder.norm": ["roberta.embeddings.LayerNorm"],
        "objective.head.layers.dense": ["lm_head.dense"],
        "objective.head.layers.norm": ["lm_head.layer_norm"],
    }
    for index in range(2):
        ours, theirs = f"network.backbone.blocks.{index}", f"roberta.encoder.layer.{index}"
        attention = f"{theirs}.attention"
        layers |= {
            f"{ours}.attention.qkv": [f"{attention}.self.{part}" for part in ("query", "key", "value")],
            f"{ours}.attention.projection": [f"{attention}.output.dense"],
            f"{ours}.attention_residual.norm": [f"{attention}.output.LayerNorm"],
            f"{ours}.ffn.inner": [f"{theirs}.intermediate.dense"],
            f"{ours}.ffn.outer": [f"{theirs}.output.dense"],
            f"{ours}.ffn_residual.norm": [f"{theirs}.output.LayerNorm"],
        }
    found = {
        f"{ours}.{kind}": [f"{name}.{kind}" for name in theirs]
        for ours, theirs in layers.items()
        for kind in ("weight", "bias")
    }
    return found | {
        "network.encoder.tokens.weight": ["roberta.embeddings.word_embeddings.weight"],
        "network.encoder.positions.weight": ["roberta.embeddings.position_embeddings.weight"],
        "objective.head.layers.bias": ["lm_head.bias"],
    }


@pytest.fixture
def theirs() -> RobertaForMaskedLM:
    """transformers' RoBERTa, no weight at a start value that would hide a missing bias or scale."""
    model = RobertaForMaskedLM(ROBERTA).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
        model.roberta.embeddings.token_type_embeddings.weight.zero_()
    assert model.lm_head.decoder.weight is model.roberta.embeddings.word_embeddings.weight
    assert model.lm_head.decoder.bias is model.lm_head.bias
    return model


def joined(theirs: dict[str, Tensor], name: str) -> Tensor:
    return torch.cat([theirs[other] for other in names()[name]])


def build_roberta(theirs: RobertaForMaskedLM) -> Learner:
    """Ours with their weights."""
    backbone = Transformer(width=16, depth=2, heads=2, dropout=0.0, attention_dropout=0.0)
    encoder = TokenEmbeddings(width=16, max_tokens=20, dropout=0.0)
    network = Network(encoder.build(TEXT), backbone.build(16, None), TEXT, None)
    targets = InputIds().build(network)
    learner = Learner(network, targets, MaskedCrossEntropy(head=TiedHead()).build(network, targets), TinySource())
    assert {name for name, _ in learner.named_parameters()} == names().keys()
    state = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            parameter.copy_(joined(state, name))
    return learner.eval()


def two_masks(length: int, masker: TokenMasker) -> Mask:
    """Two draws of a masker that draws one at a time."""
    layout = TokenEmbeddings(width=16).layout((length,))
    drawn = [masker.sample(layout, generator=torch.Generator().manual_seed(length + m)) for m in range(2)]
    return Mask(
        predicted=torch.cat([mask.predicted for mask in drawn]),
        corruption=torch.cat([mask.corruption for mask in drawn]),
        replacement=torch.cat([mask.replacement for mask in drawn]),
    )


@pytest.mark.parametrize("lengths", [(16, 16), (18, 7, 12)], ids=["of one length", "uneven"])
def test_tied_to_its_words_it_has_robertas_loss_and_gradients(theirs: RobertaForMaskedLM, lengths) -> None:
    learner = build_roberta(theirs)
    contents = [torch.randint(FIRST_WORD, WORDS - 1, (length,)) for length in lengths]
    masks = [two_masks(length, TokenMasker(probability=0.6, random=0.3, keep=0.3)) for length in lengths]
    for fate in (Corruption.HIDE, Corruption.REPLACE):
        assert any((mask.corruption == fate).any() for mask in masks)
    assert any((mask.predicted & (mask.corruption == Corruption.NONE)).any() for mask in masks)  # kept as it is
    view = collate(contents, TokenEmbeddings(width=16))
    view = attrs.evolve(view, mask=BatchMask.collate(masks, max(lengths)))
    batch = Batch(views=(view,), ids=torch.arange(len(lengths)))

    rows, labels = [], []
    for content, mask in zip(contents, masks, strict=True):
        for m in range(2):
            read = content.clone()
            for t in range(len(content)):
                if mask.corruption[m, t] == Corruption.HIDE:
                    read[t] = WORDS - 1
                elif mask.corruption[m, t] == Corruption.REPLACE:
                    read[t] = FIRST_WORD + int(mask.replacement[m, t]) % (WORDS - 1 - FIRST_WORD)
            rows.append(read)
            labels.append(content.masked_fill(~mask.predicted[m], -100))
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    expected = nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
    reference = theirs(ids, attention_mask=(ids != PAD).long(), labels=expected)
    reference.loss.backward()

    loss, said = learner(batch, learner.objective.num_targets(batch))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(reference.loss.detach()), rel=1e-6)
    right = (reference.logits.argmax(-1) == expected)[expected != -100].float().mean()
    assert float(said.scalars["predict/accuracy"]) == pytest.approx(float(right))
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in learner.named_parameters():
        gradient = joined(gradients, name)
        assert (parameter.grad - gradient).abs().max() <= 1e-5 * gradient.abs().max(), name
        assert gradient.any(), name
