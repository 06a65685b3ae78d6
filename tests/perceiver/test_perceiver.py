"""Perceiver IO against Hugging Face's implementation with the same weights."""

import attrs
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from didact import HiddenState, Layout, SpecError, Tokens
from didact.optimization import undecayed
from didact_perceiver import FourierPositions, PerceiverIO
from didact_perceiver.layers import AttentionLayer

SMALL = PerceiverIO(
    width=12, latents=5, latent_width=16, depth=3, heads=2, key_width=8, positions=FourierPositions(bands=3, longest=64)
)


def theirs(cross: bool, width: int, read_width: int, residual: bool = True, ratio: int = 2) -> nn.Module:
    """Hugging Face's layer."""
    from transformers import PerceiverConfig
    from transformers.models.perceiver.modeling_perceiver import PerceiverLayer

    config = PerceiverConfig(attention_probs_dropout_prob=0.0, hidden_act="gelu")
    return PerceiverLayer(
        config,
        is_cross_attention=cross,
        qk_channels=8,
        v_channels=width,
        num_heads=2,
        q_dim=width,
        kv_dim=read_width,
        widening_factor=ratio,
        use_query_residual=residual,
    ).eval()


def take_over(layer: AttentionLayer, other: nn.Module) -> None:
    attention = other.attention.self
    pairs = {
        "norm": attention.layernorm1,
        "query": attention.query,
        "key": attention.key,
        "value": attention.value,
        "projection": other.attention.output.dense,
        "ffn_norm": other.layernorm,
        "inner": other.mlp.dense1,
        "outer": other.mlp.dense2,
    }
    if layer.read_norm is not None:
        pairs["read_norm"] = attention.layernorm2
    for name, module in pairs.items():
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)
        getattr(layer, name).load_state_dict(module.state_dict())


@pytest.mark.parametrize("residual", [True, False])
def test_reading_is_hugging_faces_cross_attention(residual):
    layer = AttentionLayer(16, 10, heads=2, key_width=8, ffn_ratio=2, residual=residual)
    other = theirs(True, 16, 10, residual)
    take_over(layer, other)
    x, read = torch.randn(3, 5, 16), torch.randn(3, 7, 10)
    padding = torch.arange(7) >= torch.tensor([7, 4, 1])[:, None]
    closed = torch.zeros(3, 1, 1, 7).masked_fill(padding[:, None, None], torch.finfo(torch.float32).min)
    with torch.no_grad():
        expected = other(x, inputs=read, inputs_mask=closed)[0]
        torch.testing.assert_close(layer(x, read, padding)[0], expected, atol=1e-5, rtol=1e-4)


def test_thinking_is_hugging_faces_self_attention():
    layer, other = AttentionLayer(16, None, heads=2, key_width=8, ffn_ratio=2), theirs(False, 16, 16)
    take_over(layer, other)
    x = torch.randn(3, 5, 16)
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[0], other(x)[0], atol=1e-5, rtol=1e-4)


def tokens(positions: int, rows: int = 2, num_prefix_tokens: int = 0) -> Tokens:
    features = torch.randn(rows, num_prefix_tokens + positions, 10, generator=torch.Generator().manual_seed(positions))
    return Tokens(features=features, layout=Layout((positions,)), num_prefix_tokens=num_prefix_tokens)


def flops(positions: int, wanted: tuple[HiddenState, ...]) -> int:
    module = SMALL.build(10, None).eval()
    with FlopCounterMode(display=False) as counter:
        module(tokens(positions), wanted)
    return counter.get_total_flops()


@pytest.mark.parametrize("wanted", [(), HiddenState.last("block", 2, 3)])
def test_cost_is_linear_in_the_inputs_length(wanted):
    one, two, three = (flops(count * 50, wanted) for count in (1, 2, 3))
    assert three - two == two - one > 0


def test_a_blocks_feature_is_what_the_queries_read_from_it():
    module = SMALL.build(10, None).eval()
    seen = tokens(9)
    context = module(seen, HiddenState.last("block", 3, 3))
    torch.testing.assert_close(context.hidden_states[-1], context.output)
    assert not torch.allclose(context.hidden_states[0], context.output)


def test_content_reaches_other_positions_through_the_latents_alone():
    """What stands at a position changes the output everywhere, and as much elsewhere as there."""
    module = SMALL.build(10, None).eval()
    seen = tokens(9)
    other = attrs.evolve(seen, features=seen.features.clone())
    other.features[:, 3] += 2
    moved = (module(other).output - module(seen).output).norm(dim=-1)
    assert (moved > 0).all()
    assert moved[:, 3].mean() < 3 * moved.mean()


def test_queries_with_content_add_what_the_latents_say_to_it():
    module = SMALL.evolve(queries="content").build(10, None).eval()
    seen = tokens(9)
    other = attrs.evolve(seen, features=seen.features.clone())
    other.features[:, 3, 0] += 3
    moved = (module(other).output - module(seen).output).norm(dim=-1)
    assert (moved > 0).all()  # everywhere, through the latents
    assert moved[:, 3].min() > 3 * moved[:, :3].max()  # and there most


def test_dropped_positions_are_not_read_and_the_rest_keep_their_places():
    module = SMALL.build(10, None).eval()
    whole = tokens(9)
    places = torch.tensor([[0, 4, 8], [1, 2, 3]])
    kept = attrs.evolve(
        whole, features=whole.features.gather(1, places[..., None].expand(-1, -1, 10)), positions=places
    )
    padded = attrs.evolve(whole, padding=torch.ones(2, 9, dtype=torch.bool).scatter(1, places, False))
    expected = module(padded).output.gather(1, places[..., None].expand(-1, -1, 12))
    torch.testing.assert_close(module(kept).output, expected, atol=1e-5, rtol=1e-4)


def test_a_prefix_token_is_read_and_answered():
    module = SMALL.build(10, None).eval()
    seen = tokens(9, num_prefix_tokens=1)
    context = module(seen)
    assert context.output.shape == (2, 10, 12)
    other = attrs.evolve(seen, features=seen.features.clone())
    other.features[:, 0, 0] += 3
    assert not torch.allclose(module(other).output, context.output)


def test_the_defaults_are_the_papers_language_model():
    spec = PerceiverIO()
    assert (spec.latents, spec.latent_width, spec.depth, spec.heads, spec.key_width) == (256, 1280, 26, 8, 256)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"latent_width": 30}, r"latent_width must be a multiple of heads \(8\)"),
        ({"latents": 0}, "latents must be at least 1"),
        ({"ffn_ratio": 0.0}, "ffn_ratio must be above 0"),
    ],
)
def test_wrong_numbers_are_refused(fields, said):
    with pytest.raises(SpecError, match=said):
        PerceiverIO(**fields)


def test_a_feature_of_a_block_that_is_not_there_is_refused():
    with pytest.raises(SpecError, match="the ffn of block 3 is asked for, and the backbone has 3 blocks"):
        SMALL.build(10, None)(tokens(4), (HiddenState(block=3, feature="ffn"),))


def test_the_latents_reading_is_hugging_faces():
    layer = AttentionLayer(16, 10, heads=2, key_width=8, ffn_ratio=2)
    other = theirs(True, 16, 10)
    take_over(layer, other)
    x, read = torch.randn(3, 5, 16), torch.randn(3, 7, 10)
    padding = torch.arange(7) >= torch.tensor([7, 4, 1])[:, None]
    closed = torch.zeros(3, 1, 1, 7).masked_fill(padding[:, None, None], torch.finfo(torch.float32).min)
    with torch.no_grad():
        expected = other(x, inputs=read, inputs_mask=closed, output_attentions=True)[1]
        found = layer.weights(x, read, padding)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    assert (found.amax((1, 2))[padding] == 0).all()


def test_attention_is_what_the_latents_read_of_the_input():
    module = SMALL.build(12, None).eval()
    tokens = Tokens(features=torch.randn(2, 9, 12), layout=Layout((9,)))
    attention = module.attention(tokens, 0)
    assert attention.latent
    assert attention.weights.shape == (2, 2, 5, 9)
    torch.testing.assert_close(attention.weights.sum(-1), torch.ones(2, 2, 5), atol=1e-6, rtol=0)
    assert torch.equal(module.attention(tokens, 2).weights, attention.weights)


def test_norms_and_biases_alone_are_not_decayed():
    """The latents are: they are weights, as Perceiver IO's released optimizer takes them."""
    module = SMALL.build(10, None)
    exempt = undecayed(module)
    assert "latents" not in exempt
    assert all(parameter.ndim == 1 for name, parameter in module.named_parameters() if name in exempt)
    assert all(parameter.ndim > 1 for name, parameter in module.named_parameters() if name not in exempt)
