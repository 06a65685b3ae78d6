"""Targets from the input: pixels and a whole MAE against transformers' ViTMAE, and ids."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
import torch
from torch import Tensor
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

from didact import Batch, BatchMask, Layout, Learner, Mask, Network, Signal, SpecError, View, collate
from didact_distill import LatentRegression
from didact_kit import TinyBackbone, TinySource, TinyWords, tiny_batch, tiny_network
from didact_kit.tiny import passes_batch
from didact_masked import FeatureTargets, InputIds, MaskTokenDecoder, PatchPixels
from didact_transformer import Transformer
from didact_vision import Patches

MAE = ViTMAEConfig(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    decoder_hidden_size=8,
    decoder_num_hidden_layers=2,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=32,
    image_size=20,
    patch_size=4,
    num_channels=3,
    mask_ratio=0.6,
    norm_pix_loss=True,
    layer_norm_eps=1e-6,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    attn_implementation="eager",
)
GRID = Layout((5, 5))
IMAGE = Signal(kind="image", axes=(3, 20, 20))


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# ── the values of each piece ─────────────────────────────────────────────────────────────────────────────────────────


def describe(spec: PatchPixels, content: Tensor, layout: tuple[int, ...]) -> Tensor:
    """The descriptions (B, T, F) of content (B, C, *axes) in the pieces of a layout."""
    signal = Signal(kind="numbers", axes=tuple(content.shape[1:]))
    module = spec.build(Network(torch.nn.Identity(), torch.nn.Identity(), signal, Layout(layout)))
    values = module(View(content=content, layout=Layout(layout)))
    assert values.shape[2] == module.width
    return values


@pytest.fixture(scope="module")
def theirs() -> ViTMAEForPreTraining:
    """transformers' MAE, no weight at a start value that would hide a missing bias, scale or token."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        model = ViTMAEForPreTraining(MAE).eval()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
        # transformers leaves both at zero for a checkpoint to fill, which holds the column's half first
        for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
            rows, columns = build_2d_sinusoidal_position_embedding(5, 5, positions.shape[2], cls_token=True).chunk(2, 1)
            positions.copy_(torch.cat([columns, rows], 1)[None])
    return model


@pytest.mark.parametrize("grid", [(5, 5), (2, 3), (4, 1)])
def test_the_pixels_of_patches_lie_as_in_transformers_mae(theirs: ViTMAEForPreTraining, grid: tuple[int, int]) -> None:
    images = torch.randn(2, 3, 4 * grid[0], 4 * grid[1])
    expected = theirs.patchify(images, interpolate_pos_encoding=True)  # which lets images be no squares
    assert torch.equal(describe(PatchPixels(normalize=False), images, grid), expected)


@pytest.mark.parametrize("grid", [(5, 5), (2, 3)])
@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
def test_normalised_pixels_are_those_of_the_released_loss(theirs, grid: tuple[int, int], epsilon: float) -> None:
    images = torch.randn(2, 3, 4 * grid[0], 4 * grid[1]) * torch.rand(2, 3, 1, 1) * 7 + 3
    patches = theirs.patchify(images, interpolate_pos_encoding=True)
    expected = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + epsilon) ** 0.5
    torch.testing.assert_close(describe(PatchPixels(epsilon=epsilon), images, grid), expected, atol=1e-5, rtol=1e-5)


def test_a_patch_of_one_colour_has_finite_normalised_pixels() -> None:
    values = describe(PatchPixels(), torch.full((1, 3, 4, 4), 0.3), (2, 2))
    assert values.abs().max() <= 1e-3


def test_the_pieces_of_a_sequence_are_its_columns_one_after_the_other() -> None:
    content = torch.randn(2, 3, 12)  # (B, C, T) in six pieces of two columns
    values = describe(PatchPixels(normalize=False), content, (6,))
    for b in range(2):
        for t in range(6):
            expected = [content[b, c, 2 * t + offset] for offset in range(2) for c in range(3)]
            assert values[b, t].tolist() == [float(value) for value in expected]


def test_the_pieces_of_a_volume_follow_the_same_rule() -> None:
    content = torch.randn(1, 2, 4, 6, 2)
    values = describe(PatchPixels(normalize=False), content, (2, 2, 2)).reshape(2, 2, 2, -1)
    for x, y, z in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)):
        piece = content[0, :, 2 * x : 2 * x + 2, 3 * y : 3 * y + 3, z : z + 1]
        assert torch.equal(values[x, y, z], piece.permute(1, 2, 3, 0).flatten())


def test_whole_numbers_are_described_as_numbers() -> None:
    values = describe(PatchPixels(normalize=False), torch.arange(6).reshape(1, 1, 6), (3,))
    assert values.dtype == torch.float32
    assert values.tolist() == [[[0, 1], [2, 3], [4, 5]]]


@pytest.mark.parametrize(
    ("axes", "layout"),
    [
        ((3, 10, 8), (4, 2)),  # rows that four pieces do not share evenly
        ((3, 8, 10), (2, 4)),  # columns
        ((3, 8, 8), (16,)),  # as many positions, but not by axes
        ((16_000,), (49,)),  # a waveform has no channels
        ((3, None), None),  # samples of several sizes
        ((3, None, None), None),
        ((3, None), (4,)),
    ],
)
def test_samples_that_are_not_cut_into_equal_pieces_are_refused(axes, layout) -> None:
    signal = Signal(kind="numbers", axes=axes)
    layout = None if layout is None else Layout(layout)
    network = Network(torch.nn.Identity(), torch.nn.Identity(), signal, layout)
    with pytest.raises(SpecError, match="PatchPixels needs samples of one size") as caught:
        FeatureTargets().build(network)
    assert caught.value.where == "feature"
    assert str(axes) in str(caught.value)


def test_a_piece_of_one_value_is_not_normalised() -> None:
    network = Network(torch.nn.Identity(), torch.nn.Identity(), Signal(kind="numbers", axes=(1, 6)), Layout((6,)))
    with pytest.raises(SpecError, match="one value, which has no variance"):
        FeatureTargets().build(network)
    assert FeatureTargets(feature=PatchPixels(normalize=False)).build(network).width == 1


def test_an_epsilon_of_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="epsilon must be above 0"):
        PatchPixels(epsilon=0.0)


# ── a whole MAE ──────────────────────────────────────────────────────────────────────────────────────────────────────


def blocks(ours: str, theirs: str, depth: int) -> dict[str, list[str]]:
    """Which of their weights make up each of ours in a stack of pre-norm blocks."""
    parts = {
        "attention.qkv": ["attention.q_proj", "attention.k_proj", "attention.v_proj"],
        "attention.projection": ["attention.o_proj"],
        "attention_residual.norm": ["layernorm_before"],
        "ffn.inner": ["mlp.fc1"],
        "ffn.outer": ["mlp.fc2"],
        "ffn_residual.norm": ["layernorm_after"],
    }
    return {
        f"{ours}.blocks.{index}.{mine}.{kind}": [f"{theirs}.{index}.{name}.{kind}" for name in names]
        for index in range(depth)
        for mine, names in parts.items()
        for kind in ("weight", "bias")
    }


def both(ours: str, theirs: str) -> dict[str, list[str]]:
    return {f"{ours}.{kind}": [f"{theirs}.{kind}"] for kind in ("weight", "bias")}


NAMES = {
    **both("network.encoder.projection.proj", "vit.embeddings.patch_embeddings.projection"),
    "network.encoder.class_token": ["vit.embeddings.cls_token"],
    **blocks("network.backbone", "vit.layers", 2),
    **both("network.backbone.output_norm", "vit.layernorm"),
    **both("objective.head.embed", "decoder.decoder_embed"),
    "objective.head.mask_token": ["decoder.mask_token"],
    **blocks("objective.head.backbone", "decoder.decoder_layers", 2),
    **both("objective.head.backbone.output_norm", "decoder.decoder_norm"),
    **both("objective.head.predict", "decoder.decoder_pred"),
}


def transformer(width: int, heads: int) -> Transformer:
    return Transformer(
        width=width, depth=2, heads=heads, norm="pre", norm_epsilon=1e-6, dropout=0.0, attention_dropout=0.0
    )


def build_mae(theirs: ViTMAEForPreTraining) -> Learner:
    """Ours with their weights."""
    encoder = Patches(width=16, patch=4, positions="sincos", class_token=True)
    network = Network(encoder.build(IMAGE), transformer(16, 4).build(16, GRID), IMAGE, GRID)
    targets = FeatureTargets(feature=PatchPixels()).build(network)
    head = MaskTokenDecoder(width=8, backbone=transformer(8, 2))
    objective = LatentRegression(head=head, beta=0.0, scale="1/width").build(network, targets)
    learner = Learner(network, targets, objective, TinySource()).eval()
    assert {name for name, _ in learner.named_parameters()} == NAMES.keys()
    state = theirs.state_dict()
    for name, parameter in learner.named_parameters():
        parameter.data.copy_(torch.cat([state[other] for other in NAMES[name]]).reshape(parameter.shape))
    return learner


@pytest.mark.parametrize("masks", [1, 2])
def test_a_whole_mae_has_transformers_loss_and_gradients(theirs: ViTMAEForPreTraining, masks: int) -> None:
    learner = build_mae(theirs)
    images, noise = torch.randn(3, 3, 20, 20), torch.rand(3, masks, 25)
    theirs.zero_grad()
    reference = theirs(images.repeat_interleave(masks, 0), noise=noise.flatten(0, 1))
    reference.loss.backward()
    dropped = noise.argsort(-1).argsort(-1) >= 10  # of 25 patches 40 % are kept, those of the least noise
    assert torch.equal(dropped.flatten(0, 1), reference.mask.bool())
    mask = BatchMask.collate([Mask.drop(rows) for rows in dropped], 25)
    batch = Batch(views=(View(content=images, layout=GRID, mask=mask),), ids=torch.arange(3))
    loss, said = learner(batch, learner.objective.num_targets(batch))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(reference.loss.detach()), rel=1e-6)
    at_masked = reference.logits.flatten(0, 1)[dropped.flatten()]
    torch.testing.assert_close(said.predictions, at_masked.detach(), atol=1e-5, rtol=1e-5)
    others = dict(theirs.named_parameters())
    for name, parameter in learner.named_parameters():
        gradient = torch.cat([others[other].grad for other in NAMES[name]]).reshape(parameter.shape)
        torch.testing.assert_close(
            parameter.grad, gradient, atol=1e-6, rtol=1e-4, msg=lambda said, n=name: f"{n}: {said}"
        )
        assert gradient.any() or name.endswith("qkv.bias"), name


def test_every_view_is_described_by_itself() -> None:
    batch = tiny_batch(range(3), uneven=False, views=2)
    network = tiny_network(uneven=False)
    passes = tuple(network(view) for view in batch.views)
    for target, view in zip(FeatureTargets().build(network)(batch, passes, network), batch.views, strict=True):
        assert batch.views[target.view] is view
        assert target.level == "position"
        columns = view.content.transpose(1, 2)  # (B, F, T) -> (B, T, F): a position is a column
        expected = (columns - columns.mean(-1, keepdim=True)) / (columns.var(-1, keepdim=True) + 1e-6).sqrt()
        torch.testing.assert_close(target.values, expected)
        assert not target.values.requires_grad


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_ids_to_predict_are_those_that_stand_in_each_view_before_any_mask() -> None:
    signal = Signal(kind="tokens", axes=(None,), vocabulary=11)
    network = Network(TinyWords().build(signal), TinyBackbone().build(8, None), signal, None)
    targets = InputIds().build(network)
    views = [collate([torch.randint(11, (size,)) for size in sizes], TinyWords()) for sizes in ((5, 3), (4, 4))]
    hidden = BatchMask.collate([Mask.hide(torch.ones(1, size, dtype=torch.bool)) for size in (5, 3)], 5)
    views[0] = attrs.evolve(views[0], mask=hidden)
    passes = tuple(network(view) for view in views)
    found = targets(passes_batch(passes), passes, network)
    assert targets.width == 11
    assert [(target.view, target.level) for target in found] == [(0, "position"), (1, "position")]
    for target, view in zip(found, views, strict=True):
        assert torch.equal(target.values, view.content)
        assert target.values.dtype == torch.int64


def test_ids_that_share_a_position_are_refused() -> None:
    signal = Signal(kind="tokens", axes=(8,), vocabulary=11)
    network = Network(TinyWords().build(signal), TinyBackbone().build(8, None), signal, None)
    view = collate([torch.randint(11, (8,))], TinyWords())
    one = attrs.evolve(network(view), view=attrs.evolve(view, layout=Layout((4,))))
    with pytest.raises(SpecError, match=r"a sample of \(8,\) ids has 4 positions"):
        InputIds().build(network)(passes_batch((one,)), (one,), network)


def test_ids_of_samples_that_are_numbers_are_refused() -> None:
    with pytest.raises(SpecError, match="InputIds needs samples that are ids, and the source gives numbers") as caught:
        InputIds().build(tiny_network())
    assert "FeatureTargets" in caught.value.hint
