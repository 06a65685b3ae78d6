"""The speech model against Hugging Face's Data2VecAudioModel on the same random weights, at base size."""

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from didact import BatchMask, HiddenState, Layout, Mask, Network, Signal, View, collate
from didact.randomness import generator
from didact_speech import ConvWaveform, SpanMasker

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-4
SOUND = Signal(kind="waveform", axes=(None,), rate_hz=16_000)


@pytest.fixture(scope="module")
def theirs() -> Iterator[nn.Module]:
    torch.manual_seed(0)
    config = transformers.Data2VecAudioConfig(mask_time_prob=0.65, attn_implementation="eager")
    with torch.device("meta"):  # its own initialisation of 93 million weights takes ten seconds
        model = transformers.Data2VecAudioModel(config).eval()
    model.to_empty(device="cpu")
    assert not list(model.buffers())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = weight[0].numel() ** -0.5 if weight.dim() > 1 else 0.1
            weight.uniform_(-scale, scale)
            if name.endswith("norm.weight"):
                weight.add_(1.0)
    with torch.no_grad():
        yield model


@pytest.fixture(scope="module")
def encoder(theirs: nn.Module) -> nn.Module:
    module = ConvWaveform().build(SOUND).eval()
    module.load_state_dict(converted(theirs.state_dict()))
    return module


def converted(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's names of the encoder's weights as ours."""
    names = {
        "masked_spec_embed": "mask_embedding",
        "feature_projection.layer_norm.": "norm.",
        "feature_projection.projection.": "projection.",
        "feature_extractor.conv_layers.": "features.",
        "encoder.pos_conv_embed.layers.": "positions.",
    }
    result = {}
    for name, weight in weights.items():
        for their_name, our_name in names.items():
            if name.startswith(their_name):
                rest = name.removeprefix(their_name).replace(".layer_norm.", ".norm.")
                result[our_name + rest] = weight
    return result


def sounds(*lengths: int) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.nn.functional.layer_norm(torch.randn(length), (length,)) for length in lengths]


def difference(mine: Tensor, other: Tensor) -> float:
    return (mine - other).abs().max().item()


def test_the_features_agree(theirs: nn.Module, encoder: nn.Module) -> None:
    view = collate(sounds(16_000, 16_000), ConvWaveform())
    embedded = encoder.embed(view)
    extracted = theirs.feature_extractor(view.content).transpose(1, 2)
    projected, normed = theirs.feature_projection(extracted)
    assert difference(embedded.features, projected) <= TOLERANCE
    assert difference(embedded.latents, normed) <= TOLERANCE


def test_the_masked_features_with_their_positions_agree(theirs: nn.Module, encoder: nn.Module) -> None:
    view = collate(sounds(16_000, 16_000), ConvWaveform())
    masks = [SpanMasker().sample(view.layout, generator=generator(seed, "mask")) for seed in range(2)]
    embedded = encoder.embed(view)
    placed = encoder.place(embedded, BatchMask.collate(masks, 49))
    hidden = embedded.features.clone()
    hidden[torch.cat([mask.predicted for mask in masks])] = theirs.masked_spec_embed
    assert difference(placed.features, hidden + theirs.encoder.pos_conv_embed(hidden)) <= TOLERANCE


@pytest.fixture(scope="module")
def network(theirs: nn.Module, encoder: nn.Module) -> Network:
    transformer = pytest.importorskip("didact_transformer")
    backbone = transformer.Transformer(width=768, depth=12, heads=12, input_norm=True).build(768, None).eval()
    backbone.load_state_dict(converted_backbone(theirs.state_dict(), backbone))
    return Network(encoder, backbone, SOUND, None)


def converted_backbone(weights: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Hugging Face's names of the Transformer's weights as ours."""
    result = {f"input_norm.{part}": weights[f"encoder.layer_norm.{part}"] for part in ("weight", "bias")}
    for layer in range(12):
        attention = f"encoder.layers.{layer}.attention."
        for part in ("weight", "bias"):
            joined = torch.cat([weights[f"{attention}{role}_proj.{part}"] for role in "qkv"])
            result[f"blocks.{layer}.attention.qkv.{part}"] = joined
            theirs_to_ours = {
                "attention.out_proj": "attention.projection",
                "layer_norm": "attention_residual.norm",
                "feed_forward.intermediate_dense": "ffn.inner",
                "feed_forward.output_dense": "ffn.outer",
                "final_layer_norm": "ffn_residual.norm",
            }
            for their_name, our_name in theirs_to_ours.items():
                result[f"blocks.{layer}.{our_name}.{part}"] = weights[f"encoder.layers.{layer}.{their_name}.{part}"]
    return result


def their_features(theirs: nn.Module, sound: Tensor, predicted: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """Each layer's feed-forward output and the model's output, (T, D) each, of one sound (S,)."""
    features: list[Tensor] = []
    hooks = [
        layer.feed_forward.register_forward_hook(lambda _module, _args, output: features.append(output[0]))
        for layer in theirs.encoder.layers
    ]
    theirs.config.mask_time_prob = 0.0  # masks come from outside or not at all
    output = theirs(sound[None], mask_time_indices=predicted).last_hidden_state[0]
    for hook in hooks:
        hook.remove()
    return features, output


@pytest.mark.parametrize("lengths", [(16_000, 16_000), (16_000, 9_000)], ids=["without padding", "with padding"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_every_layers_target_feature_agrees(
    theirs: nn.Module, network: Network, lengths: tuple[int, ...], masked: bool
) -> None:
    batch, masker = sounds(*lengths), SpanMasker() if masked else None
    view = collate(batch, ConvWaveform(), masker, [generator(seed, "mask") for seed in range(2)])
    context = network.contextualize(network.encoder.embed(view), view.mask, HiddenState.last("ffn", 12, 12))
    assert (view.padding is not None) == (lengths[0] != lengths[1])
    for row, sound in enumerate(batch):
        frames = ConvWaveform().layout((len(sound),)).positions
        predicted = None if view.mask is None else view.mask.predicted[row, :, :frames]
        # alone, for in a padded batch Hugging Face's own result depends on the padding: see the next test
        features, output = their_features(theirs, sound, predicted)
        assert len(features) == len(context.hidden_states) == 12
        for mine, other in zip(context.hidden_states, features, strict=True):
            assert difference(mine[row, :frames], other) <= TOLERANCE
        assert difference(context.output[row, :frames], output) <= TOLERANCE


def test_in_a_padded_batch_only_frames_near_the_end_differ_from_theirs(theirs: nn.Module, encoder: nn.Module) -> None:
    view = collate(sounds(32_000, 20_000), ConvWaveform())
    assert view.padding is not None
    embedded = encoder.embed(view)
    placed = encoder.place(embedded, None).features
    cleared = embedded.features.masked_fill(view.padding[..., None], 0)
    other = cleared + theirs.encoder.pos_conv_embed(cleared)
    frames = ConvWaveform().layout((20_000,)).positions
    reach = 4 * 9  # the layers behind the first see what the one before made of the padding
    assert difference(placed[0], other[0]) <= TOLERANCE
    assert difference(placed[1, : frames - reach], other[1, : frames - reach]) <= TOLERANCE
    assert difference(placed[1, frames - reach : frames], other[1, frames - reach : frames]) > 0.01


def test_masks_reach_the_model_as_they_are_drawn(theirs: nn.Module, encoder: nn.Module) -> None:
    view = View(content=sounds(16_000)[0][None], layout=Layout((49,)))
    hidden = encoder.place(encoder.embed(view), BatchMask.collate([Mask.hide(torch.ones(1, 49, dtype=torch.bool))], 49))
    everywhere = theirs.masked_spec_embed.expand(1, 49, -1)
    assert difference(hidden.features, everywhere + theirs.encoder.pos_conv_embed(everywhere)) <= TOLERANCE
