"""The Transformer against an independent implementation: the data2vec 1 models of transformers."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import pytest
import torch
from torch import Tensor, nn
from transformers import Data2VecAudioConfig, Data2VecTextConfig, Data2VecVisionConfig
from transformers.models.data2vec import modeling_data2vec_audio as audio
from transformers.models.data2vec import modeling_data2vec_text as text
from transformers.models.data2vec import modeling_data2vec_vision as vision

from didact import HiddenState, Layout, Tokens
from didact_transformer import BEiTBias, Transformer, TransformerModule

TOLERANCE = 1e-4

SIZES = {
    "small": {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
GRIDS = {"small": (32, 8), "base": (224, 16)}  # pixels of an image's side and of a patch's


@attrs.frozen
class Reference:
    """What an encoder of transformers makes of its input: every block's target feature, and the output."""

    features: list[Tensor]
    output: Tensor


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["with gradient", "without gradient"])
def gradient(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)  # attention takes another way on the CPU


def test_features_and_output_equal_those_of_the_speech_model(size: str, gradient: bool) -> None:
    config = Data2VecAudioConfig(**SIZES[size], attn_implementation="eager")
    theirs = scrambled(audio.Data2VecAudioEncoder(config).eval())
    spec = transformer(config, input_norm=True, input_dropout=0.1, norm_epsilon=config.layer_norm_eps)
    ours = spec.build(spec.width, None).eval()
    ours.input_norm.load_state_dict(theirs.layer_norm.state_dict())
    for block, layer in zip(ours.blocks, theirs.layers, strict=True):
        load(block.attention.qkv, [layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj])
        load(block.attention.projection, [layer.attention.out_proj])
        load(block.attention_residual.norm, [layer.layer_norm])
        load(block.ffn.inner, [layer.feed_forward.intermediate_dense])
        load(block.ffn.outer, [layer.feed_forward.output_dense])
        load(block.ffn_residual.norm, [layer.final_layer_norm])
    x, padding = torch.randn(2, 49, spec.width), torch.arange(49) >= torch.tensor([[49], [31]])
    closed = torch.zeros(2, 1, 1, 49).masked_fill(padding[:, None, None], torch.finfo(torch.float32).min)
    outputs = listen([layer.feed_forward for layer in theirs.layers])
    with torch.no_grad():
        hidden = theirs.layer_norm(x)
        for layer in theirs.layers:
            hidden = layer(hidden, attention_mask=closed)
    tokens = Tokens(features=x, layout=Layout((49,)), padding=padding)
    compare(ours, tokens, Reference(outputs, hidden), "ffn", gradient, where=~padding)


def test_features_and_output_equal_those_of_the_text_model(size: str, gradient: bool) -> None:
    config = Data2VecTextConfig(**SIZES[size], layer_norm_eps=1e-5, attn_implementation="eager")
    theirs = scrambled(text.Data2VecTextEncoder(config).eval())
    spec = transformer(config, norm_epsilon=config.layer_norm_eps)
    ours = spec.build(spec.width, None).eval()
    for block, layer in zip(ours.blocks, theirs.layer, strict=True):
        attention = layer.attention
        load(block.attention.qkv, [attention.self.query, attention.self.key, attention.self.value])
        load(block.attention.projection, [attention.output.dense])
        load(block.attention_residual.norm, [attention.output.LayerNorm])
        load(block.ffn.inner, [layer.intermediate.dense])
        load(block.ffn.outer, [layer.output.dense])
        load(block.ffn_residual.norm, [layer.output.LayerNorm])
    x = torch.randn(2, 40, spec.width)
    outputs = listen([layer.output.dense for layer in theirs.layer])
    with torch.no_grad():
        hidden = theirs(x).last_hidden_state
    compare(ours, Tokens(features=x, layout=Layout((40,))), Reference(outputs, hidden), "ffn", gradient)


def test_features_and_output_equal_those_of_the_image_model(size: str, gradient: bool) -> None:
    image, patch = GRIDS[size]
    config = Data2VecVisionConfig(
        **SIZES[size],
        image_size=image,
        patch_size=patch,
        layer_norm_eps=1e-6,
        use_shared_relative_position_bias=True,
        layer_scale_init_value=0.1,
        attn_implementation="eager",
    )
    grid = (image // patch, image // patch)
    theirs = scrambled(vision.Data2VecVisionEncoder(config, window_size=grid).eval())
    theirs.relative_position_bias.relative_position_bias_table.data.normal_()
    final = scrambled(nn.LayerNorm(config.hidden_size, 1e-6))
    spec = transformer(
        config, norm="pre", norm_epsilon=1e-6, layer_scale=0.1, key_bias=False, positions=BEiTBias(), drop_path=0.25
    )
    ours = spec.build(spec.width, Layout(grid)).eval()
    ours.output_norm.load_state_dict(final.state_dict())
    ours.positions.table.data.copy_(theirs.relative_position_bias.relative_position_bias_table)
    for block, layer in zip(ours.blocks, theirs.layer, strict=True):
        attention = layer.attention.attention
        parts = [attention.query, attention.key, attention.value]
        block.attention.qkv.weight.data.copy_(torch.cat([part.weight for part in parts]))
        block.attention.query_value_bias.data.copy_(torch.cat([attention.query.bias, attention.value.bias]))
        load(block.attention.projection, [layer.attention.output.dense])
        load(block.attention_residual.norm, [layer.layernorm_before])
        load(block.ffn.inner, [layer.intermediate.dense])
        load(block.ffn.outer, [layer.output.dense])
        load(block.ffn_residual.norm, [layer.layernorm_after])
        block.attention_residual.scale.data.copy_(layer.lambda_1)
        block.ffn_residual.scale.data.copy_(layer.lambda_2)
    x = torch.randn(2, 1 + grid[0] * grid[1], spec.width)
    with torch.no_grad():
        result = theirs(x, output_hidden_states=True, resolution=(image, image))
        reference = Reference(list(result.hidden_states[1:]), final(result.last_hidden_state))
    compare(ours, Tokens(features=x, layout=Layout(grid), num_prefix_tokens=1), reference, "block", gradient)


def transformer(config: object, **fields: object) -> Transformer:
    known = SIZES["small"].keys()
    width, depth, heads, inner = (getattr(config, name) for name in known)
    return Transformer(width=width, depth=depth, heads=heads, ffn_ratio=inner / width, **fields)


def scrambled(module: nn.Module) -> nn.Module:
    """No parameter at a start value that would hide a missing bias, scale or norm."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return module


def load(ours: nn.Module, theirs: list[nn.Module]) -> None:
    """Copies the joined rows of one or more of their layers to one of ours."""
    states: list[Mapping[str, Tensor]] = [module.state_dict() for module in theirs]
    ours.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})


def listen(modules: list[nn.Module]) -> list[Tensor]:
    """A list to which each module's output is added when it is called."""
    heard: list[Tensor] = []
    for module in modules:
        module.register_forward_hook(lambda module, inputs, output: heard.append(output))
    return heard


def compare(
    ours: TransformerModule,
    tokens: Tokens,
    reference: Reference,
    feature: str,
    gradient: bool,
    where: Tensor | None = None,
) -> None:
    with torch.set_grad_enabled(gradient):
        context = ours(tokens, HiddenState.last(feature, len(ours.blocks), len(ours.blocks)))
    where = torch.ones(tokens.features.shape[:2], dtype=torch.bool) if where is None else where
    assert len(context.hidden_states) == len(reference.features)
    for mine, theirs in zip(
        [*context.hidden_states, context.output], [*reference.features, reference.output], strict=True
    ):
        assert (mine[where] - theirs[where]).abs().max() <= TOLERANCE
        assert theirs[where].std() > 0.01  # or the comparison would say nothing
