"""MAE's decoder, BERT's tied head against transformers, and HuBERT's cosine head against its definition."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import attrs
import pytest
import torch
from torch import Tensor, nn
from transformers import RobertaConfig
from transformers.models.roberta.modeling_roberta import RobertaLMHead

from didact import BackboneOutput, Batch, BatchMask, Layout, Learner, Mask, Network, Signal, SpecError, Tokens, collate
from didact.optimization import undecayed
from didact_distill import HeadModule
from didact_kit import TinyBackbone, TinyEncoder, TinyMasker, TinySource, TinyWords, tiny_network
from didact_masked import CosineHead, InputIds, MaskedCrossEntropy, MaskTokenDecoder, TiedHead
from didact_transformer import Transformer

WORDS = 11
TEXT = Signal(kind="tokens", axes=(None,), vocabulary=WORDS)
BLOCKS = Transformer(width=8, depth=2, heads=2, norm="pre", dropout=0.0, attention_dropout=0.0)


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def scrambled(module: nn.Module) -> nn.Module:
    """No parameter at a start value that would hide a missing bias, scale or token."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return module.eval()


def words(backbone: int = 8) -> Network:
    """A network of tiny words."""
    return Network(TinyWords().build(TEXT), TinyBackbone(depth=2).build(backbone, None), TEXT, None)


def hidden(*rows: list[int]) -> BatchMask:
    """Masks that hide what is 1."""
    return BatchMask.collate([Mask.hide(torch.tensor([row]) == 1) for row in rows], max(map(len, rows)))


def apply(head: HeadModule, outputs: Tensor) -> Tensor:
    """What a head says of outputs (R, T, D) at all positions: (R·T, C)."""
    rows, t, _ = outputs.shape
    tokens = Tokens(features=outputs, layout=Layout((t,)))
    return head(BackboneOutput(output=outputs, tokens=tokens), hidden(*[[1] * t] * rows), None)


# ── BERT's head ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_the_tied_head_is_robertas(epsilon: float) -> None:
    config = RobertaConfig(vocab_size=WORDS, hidden_size=8, layer_norm_eps=epsilon)
    theirs, network = scrambled(RobertaLMHead(config)), words()
    head = scrambled(TiedHead(epsilon=epsilon).build(network, WORDS))
    with torch.no_grad():
        head.layers.dense.load_state_dict(theirs.dense.state_dict())
        head.layers.norm.load_state_dict(theirs.layer_norm.state_dict())
        head.layers.bias.copy_(theirs.decoder.bias)
        theirs.decoder.weight = network.encoder.input_embeddings()
    outputs = torch.randn(3, 5, 8)
    torch.testing.assert_close(apply(head, outputs), theirs(outputs).flatten(0, 1), atol=1e-5, rtol=1e-5)


def test_the_tied_head_begins_as_bert_does() -> None:
    signal = attrs.evolve(TEXT, vocabulary=50)
    network = Network(TinyWords(width=256).build(signal), TinyBackbone().build(256, None), signal, None)
    layers = TiedHead().build(network, 50).layers
    assert float(layers.dense.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert not layers.dense.bias.any()
    assert not layers.bias.any()
    assert layers.bias.shape == (50,)


def test_outputs_of_another_width_are_brought_to_the_tables() -> None:
    network = words(backbone=6)
    head = TiedHead().build(network, WORDS)
    assert apply(head, torch.randn(1, 3, 6)).shape == (3, WORDS)


def build_tied() -> tuple[Learner, Batch]:
    network = words()
    targets = InputIds().build(network)
    objective = MaskedCrossEntropy(head=TiedHead()).build(network, targets)
    view = collate([torch.randint(WORDS, (size,)) for size in (6, 4)], TinyWords())
    view = attrs.evolve(view, mask=hidden([1, 0, 1, 0, 0, 1], [0, 1, 0, 1]))
    learner = Learner(network, targets, objective, TinySource())
    return learner, Batch(views=(view,), ids=torch.arange(2))


def loss_of(learner: Learner, batch: Batch) -> Tensor:
    return learner(batch, learner.objective.num_targets(batch))[0]


def test_the_table_is_the_encoders_alone_in_state_and_parameters() -> None:
    learner, _ = build_tied()
    assert set(learner.objective.state_dict()) == {
        f"head.layers.{name}" for name in ("bias", "dense.weight", "dense.bias", "norm.weight", "norm.bias")
    }
    table = learner.network.encoder.input_embeddings()
    holders = [name for name, value in learner.named_parameters(remove_duplicate=False) if value is table]
    assert holders == ["network.encoder.words.weight"]
    assert [name for name, value in learner.state_dict().items() if value.shape == table.shape] == holders
    assert not any(module is learner.network.encoder for module in learner.objective.modules())


def test_the_table_learns_from_what_is_predicted_as_well_as_from_what_is_read() -> None:
    learner, batch = build_tied()
    loss_of(learner, batch).backward()
    absent = sorted(set(range(WORDS - 1)) - set(batch.views[0].content.flatten().tolist()))
    assert absent
    assert all(learner.network.encoder.words.weight.grad[word].any() for word in absent)  # only the head knows of them


def test_a_copied_learner_predicts_with_its_own_table() -> None:
    learner, batch = build_tied()
    before = float(loss_of(learner, batch).detach())
    copied = copy.deepcopy(learner)
    assert float(loss_of(copied, batch).detach()) == before
    with torch.no_grad():
        copied.network.encoder.words.weight.zero_()
    assert float(loss_of(copied, batch).detach()) == pytest.approx(math.log(WORDS))  # all words are alike
    assert float(loss_of(learner, batch).detach()) == before
    assert before != pytest.approx(math.log(WORDS), rel=1e-6)


def test_a_table_that_takes_the_place_of_another_is_the_one_that_is_used() -> None:
    learner, batch = build_tied()
    assert float(loss_of(learner, batch).detach()) != pytest.approx(math.log(WORDS), rel=1e-6)
    learner.network.encoder.words.weight = nn.Parameter(torch.zeros(WORDS, 8))  # as where weights are sharded
    assert float(loss_of(learner, batch).detach()) == pytest.approx(math.log(WORDS))


def test_an_encoder_without_a_table_has_nothing_to_tie_to() -> None:
    with pytest.raises(SpecError, match="the encoder has no table of embeddings") as caught:
        TiedHead().build(tiny_network(), 4)
    assert "LinearHead" in caught.value.hint


@pytest.mark.parametrize("classes", [WORDS - 1, WORDS + 1])
def test_a_table_of_other_classes_is_refused(classes: int) -> None:
    with pytest.raises(SpecError, match=f"predicts {classes} ids .* has a table of {WORDS} ids"):
        TiedHead().build(words(), classes)


# ── HuBERT's head ────────────────────────────────────────────────────────────────────────────────────────────────────


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_logits_are_cosines_of_the_projected_output_and_each_code_over_the_temperature(temperature: float) -> None:
    head = scrambled(CosineHead(width=5, temperature=temperature).build(words(), 4))
    layers, outputs = head.layers, torch.randn(2, 3, 8)
    logits = apply(head, outputs)
    assert logits.shape == (6, 4)
    weight, bias, codes = (x.detach() for x in (layers.projection.weight, layers.projection.bias, layers.codes))
    for n, output in enumerate(outputs.flatten(0, 1)):
        projected = [float(row @ output + shift) for row, shift in zip(weight, bias, strict=True)]
        expected = [cosine(projected, code.tolist()) / temperature for code in codes]
        assert logits[n].tolist() == pytest.approx(expected, abs=1e-5 / temperature)


def test_neither_the_length_of_outputs_nor_that_of_codes_counts() -> None:
    head = scrambled(CosineHead(width=5).build(words(), 4))
    outputs = torch.randn(2, 3, 8)
    with torch.no_grad():
        head.layers.projection.bias.zero_()  # which alone is no part of eq. 3
        before = apply(head, outputs)
        head.layers.codes.mul_(torch.tensor([[0.01], [1.0], [7.0], [300.0]]))
        torch.testing.assert_close(apply(head, 1_000 * outputs), before, atol=1e-4, rtol=1e-4)
        head.layers.codes.neg_()
        torch.testing.assert_close(apply(head, outputs), -before, atol=1e-4, rtol=1e-4)
    assert before.std() > 1
    assert before.abs().max() <= 10.0001  # 1 / 0.1


def test_every_cluster_has_a_code_of_its_own_that_learns() -> None:
    head = CosineHead(width=5).build(words(), 4)
    assert head.layers.codes.shape == (4, 5)
    assert 0 <= head.layers.codes.min() <= head.layers.codes.max() < 1
    apply(head, torch.randn(1, 3, 8)).square().sum().backward()
    assert head.layers.codes.grad.abs().sum(1).min() > 0


# ── MAE's decoder ────────────────────────────────────────────────────────────────────────────────────────────────────


class Wide:
    """As much of a network as this head looks at."""

    def __init__(self, layout: Layout | None) -> None:
        self.backbone = type("Backbone", (), {"width": 6})()
        self.layout = layout


def build_decoder(layout: Layout | None, weights: HeadModule | None = None) -> HeadModule:
    head = scrambled(MaskTokenDecoder(width=8, backbone=BLOCKS).build(Wide(layout), 5))
    if weights is not None:
        head.load_state_dict(weights.state_dict())
    return head


def dropped(layout: Layout) -> tuple[BackboneOutput, BatchMask]:
    """Some outputs of two samples, behind two masks each that keep unequally much."""
    predicted = torch.rand(2, 2, layout.positions) < torch.tensor([0.3, 0.7])[:, None]
    mask = BatchMask.collate([Mask.drop(rows) for rows in predicted], layout.positions)
    assert mask.visible_padding is not None
    outputs = torch.randn(*mask.visible.shape, 6)
    tokens = Tokens(features=outputs, layout=layout, positions=mask.visible, padding=mask.visible_padding)
    return BackboneOutput(output=outputs, tokens=tokens), mask


def test_only_embedding_token_blocks_and_prediction_are_learned_and_kept() -> None:
    head = build_decoder(Layout((2, 6)))
    own = {name for name in head.state_dict() if not name.startswith("backbone.")}
    assert own == {"mask_token", *(f"{layer}.{kind}" for layer in ("embed", "predict") for kind in ("weight", "bias"))}
    assert head.mask_token.shape == (1, 8)


@pytest.mark.parametrize("layout", [Layout((12,)), Layout((3, 4)), Layout((2, 3))])
@pytest.mark.parametrize("built_for", [None, Layout((4, 4)), Layout((2, 6))])
def test_positions_are_those_of_the_samples_layout_whatever_it_was_built_for(layout: Layout, built_for) -> None:
    head = build_decoder(layout)
    other = build_decoder(built_for, weights=head)
    context, mask = dropped(layout)
    torch.testing.assert_close(other(context, mask, None), head(context, mask, None))


def test_filler_behind_the_visible_positions_changes_nothing() -> None:
    head = build_decoder(Layout((3, 4)))
    context, mask = dropped(Layout((3, 4)))
    expected = head(context, mask, None)
    other = context.output.masked_fill(context.tokens.padding[..., None], 100.0)
    assert torch.equal(head(attrs.evolve(context, output=other), mask, None), expected)


def test_a_prediction_hears_of_every_visible_output_and_of_its_own_place() -> None:
    head = build_decoder(Layout((12,)))
    predicted = torch.zeros(1, 12, dtype=torch.bool)
    predicted[0, [2, 3, 7]] = True
    mask = BatchMask.collate([Mask.drop(predicted)], 12)
    outputs = torch.randn(1, 9, 6, requires_grad=True)
    context = BackboneOutput(
        output=outputs, tokens=Tokens(features=outputs, layout=Layout((12,)), positions=mask.visible)
    )
    found = head(context, mask, None)
    assert torch.pdist(found).min() > 1e-3  # the mask tokens differ in their places alone
    found.sum().backward()
    assert outputs.grad.abs().sum(-1).min() > 0


def test_where_nothing_is_dropped_no_mask_token_stands() -> None:
    head = build_decoder(Layout((12,)))
    outputs = torch.randn(1, 12, 6)
    context = BackboneOutput(output=outputs, tokens=Tokens(features=outputs, layout=Layout((12,))))
    mask = hidden([1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0])
    before = head(context, mask, None)
    with torch.no_grad():
        head.mask_token.fill_(50.0)
    assert torch.equal(head(context, mask, None), before)
    assert before.shape == (4, 5)


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("masks", [1, 3])
def test_a_sample_alone_is_decoded_as_beside_longer_ones(class_token: bool, masks: int) -> None:
    source, encoder = TinySource(uneven=True), TinyEncoder(class_token=class_token)
    network = Network(encoder.build(source.signal()), BLOCKS.build(8, None), source.signal(), None).eval()
    head = scrambled(MaskTokenDecoder(width=8, backbone=BLOCKS).build(network, 5))
    contents, masker = [torch.randn(3, size) for size in (5, 12, 9, 2)], TinyMasker(masks=masks, corruption="drop")
    together = collate(contents, encoder, masker, [torch.Generator().manual_seed(n) for n in range(4)])
    rows = together.padding.repeat_interleave(masks, 0)
    found = head(network(together).backbone_output, together.mask, rows)
    parts = []
    for number, content in enumerate(contents):
        view = collate([content], encoder, masker, [torch.Generator().manual_seed(number)])
        assert view.padding is None
        parts.append(head(network(view).backbone_output, view.mask, None))
    torch.testing.assert_close(found, torch.cat(parts), atol=1e-5, rtol=1e-5)
    assert found.std() > 0.1


def test_the_decoders_blocks_must_be_of_its_width() -> None:
    with pytest.raises(SpecError, match="stands behind an encoder of width 16") as caught:
        MaskTokenDecoder(width=16, backbone=BLOCKS).build(Wide(None), 5)
    assert caught.value.where.startswith("backbone")


def test_a_width_that_sines_and_cosines_of_a_grid_do_not_share_is_refused() -> None:
    with pytest.raises(SpecError, match="a multiple of 4, got 6") as caught:
        MaskTokenDecoder(width=6, backbone=TinyBackbone()).build(Wide(Layout((3, 4))), 5)
    assert caught.value.where == "width"


@pytest.mark.parametrize(
    ("head", "fields"),
    [
        (MaskTokenDecoder, {"width": 0, "backbone": BLOCKS}),
        (TiedHead, {"epsilon": 0.0}),
        (CosineHead, {"width": 0}),
        (CosineHead, {"temperature": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused(head: type, fields: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="must be"):
        head(**fields)


def test_cosines_keep_their_digits_under_autocast() -> None:
    head = CosineHead(width=16, temperature=0.01).build(tiny_network(), 5)
    outputs = torch.randn(1, 12, 8)
    context = BackboneOutput(output=outputs, tokens=Tokens(features=outputs, layout=Layout((12,))))
    mask = hidden([1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0])
    with torch.autocast("cpu", torch.bfloat16):
        found = head(context, mask, None)
        projected = head.layers.projection(outputs[0, [0, 2, 3, 7]]).double()
    alike = torch.nn.functional.cosine_similarity(projected[:, None], head.layers.codes.double(), dim=-1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), alike / 0.01, atol=1e-4, rtol=1e-4)


# ── Weight decay ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_biases_and_norms_of_heads_are_not_decayed_and_tables_are():
    """As released: MAE decays its mask token, HuBERT its code vectors, BERT its table but no bias."""
    tied = TiedHead().build(words(), WORDS)
    assert undecayed(tied) == {f"layers.{name}" for name in ("bias", "dense.bias", "norm.weight", "norm.bias")}
    assert undecayed(CosineHead(width=6).build(words(), 4)) == {"layers.projection.bias"}
    decoder = MaskTokenDecoder(width=8, backbone=BLOCKS).build(tiny_network(uneven=False), 5)
    assert {"mask_token", "embed.weight", "predict.weight"} & undecayed(decoder) == set()
