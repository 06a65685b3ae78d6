from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from didact import HiddenState, Layout, SpecError, Tokens
from didact.randomness import seed_step
from didact_transformer import ALiBi, BEiTBias, DepthScaledInitialization, NormalInitialization, Transformer

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}
SMALL = {"width": 32, "depth": 3, "heads": 4}


def sequence(features: Tensor, padding: Tensor | None = None) -> Tokens:
    return Tokens(features=features, layout=Layout((features.shape[1],)), padding=padding)


# ── What it computes ──────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=30, deadline=None)
@given(
    held=st.integers(1, 9),
    padded=st.integers(1, 5),
    norm=st.sampled_from(["post", "pre"]),
    positions=st.sampled_from([None, ALiBi()]),
    gradient=st.booleans(),
)
def test_padding_never_changes_a_result(
    held: int, padded: int, norm: str, positions: ALiBi | None, gradient: bool
) -> None:
    module = Transformer(**SMALL, norm=norm, input_norm=True, positions=positions).build(32, None).eval()
    alone = torch.randn(1, held, 32)
    other = torch.randn(1, held + padded, 32)
    filled = torch.cat([alone, 1e3 * torch.randn(1, padded, 32)], 1)  # (1, held + padded, D); noise must not matter
    padding = torch.arange(held + padded) >= torch.tensor([[held], [held + padded]])
    wanted = HiddenState.last("ffn", 3, 3)
    with torch.set_grad_enabled(gradient):
        expected = module(sequence(alone), wanted)
        found = module(sequence(torch.cat([filled, other]), padding), wanted)
    for one, many in zip([expected.output, *expected.hidden_states], [found.output, *found.hidden_states], strict=True):
        torch.testing.assert_close(many[:1, :held], one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_row_of_padding_alone_gives_numbers_and_gradients(gradient: bool, precision: torch.dtype) -> None:
    module = Transformer(**SMALL, positions=ALiBi()).build(32, None)
    padding = torch.tensor([[False] * 5, [True] * 5])
    with torch.set_grad_enabled(gradient), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        output = module(sequence(torch.randn(2, 5, 32), padding)).output
    assert output.isfinite().all()
    if gradient:
        output.square().sum().backward()
        assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_features_are_what_the_residual_stream_is_made_of(norm: str) -> None:
    """Each feature is checked by rebuilding the stream from it, by the definition of the block."""
    module = Transformer(**SMALL, norm=norm, layer_scale=0.5).build(32, None).eval()
    x = torch.randn(2, 7, 32)
    attention, ffn, joined, block = (
        module(sequence(x), HiddenState.last(feature, 3, 3))
        for feature in ("attention", "ffn", "ffn+residual", "block")
    )
    for index, layer in enumerate(module.blocks):
        first, second = layer.attention_residual.norm, layer.ffn_residual.norm
        scaled_attention = attention.hidden_states[index] * layer.attention_residual.scale
        scaled_ffn = ffn.hidden_states[index] * layer.ffn_residual.scale
        if norm == "post":
            expected_sum = first(x + scaled_attention) + scaled_ffn
            expected = second(expected_sum)
        else:
            expected = expected_sum = x + scaled_attention + scaled_ffn
        torch.testing.assert_close(joined.hidden_states[index], expected_sum)
        torch.testing.assert_close(block.hidden_states[index], expected)
        x = block.hidden_states[index]
    torch.testing.assert_close(block.output, x if norm == "post" else module.output_norm(x))


def test_only_the_features_that_are_asked_for_are_given() -> None:
    module = Transformer(**SMALL).build(32, None).eval()
    tokens = sequence(torch.randn(2, 7, 32))
    assert module(tokens).hidden_states == ()
    all_three = module(tokens, HiddenState.last("ffn", 3, 3)).hidden_states
    (top,) = module(tokens, HiddenState.last("ffn", 1, 3)).hidden_states
    torch.testing.assert_close(top, all_three[-1])


def test_asking_for_more_blocks_than_there_are_is_an_error() -> None:
    module = Transformer(**SMALL).build(32, None)
    for block in (3, -1):
        with pytest.raises(SpecError, match=f"the ffn of block {block} is asked for, and the backbone has 3 blocks"):
            module(sequence(torch.randn(1, 2, 32)), [HiddenState(block=block, feature="ffn")])


# ── What it attends to ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("key_bias", [True, False])
def test_attention_is_the_softmax_of_queries_and_keys(norm: str, key_bias: bool) -> None:
    """By the definition, head by head, from the stream that the block below hands over."""
    module = Transformer(**SMALL, norm=norm, key_bias=key_bias, positions=BEiTBias()).build(32, Layout((3, 4))).eval()
    torch.nn.init.normal_(module.positions.table)
    for block in module.blocks:  # else some of it starts at 0
        for bias in (block.attention.qkv.bias, block.attention.query_value_bias):
            if bias is not None:
                torch.nn.init.normal_(bias)
    tokens = Tokens(features=torch.randn(2, 13, 32), layout=Layout((3, 4)), num_prefix_tokens=1)
    below = [tokens.features, *module(tokens, HiddenState.last("block", 3, 3)).hidden_states]
    relative = module.positions(tokens)
    for index, layer in enumerate(module.blocks):
        attention = module.attention(tokens, index)
        assert attention.weights.shape == (2, 4, 13, 13)
        assert not attention.latent
        entering = layer.attention_residual.norm(below[index]) if norm == "pre" else below[index]
        projected = entering @ layer.attention.qkv.weight.T
        if key_bias:
            projected = projected + layer.attention.qkv.bias
        else:
            query_bias, _ = layer.attention.query_value_bias.chunk(2)
            projected[..., :32] += query_bias
        for row in range(2):
            for head in range(4):
                columns = slice(8 * head, 8 * head + 8)
                query, key = projected[row, :, :32][:, columns], projected[row, :, 32:64][:, columns]
                expected = torch.softmax(query @ key.T / 8**0.5 + relative[0, head], -1)
                torch.testing.assert_close(attention.weights[row, head], expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_attention_adds_up_to_one_and_reads_no_padding(precision: torch.dtype) -> None:
    module = Transformer(**SMALL, positions=ALiBi()).build(32, None).eval()
    padding = torch.arange(9) >= torch.tensor([[9], [5], [1]])
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        weights = module.attention(sequence(torch.randn(3, 9, 32), padding), 2).weights
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 9), atol=1e-6, rtol=0)
    assert (weights.amax((1, 2))[padding] == 0).all()
    assert (weights[2, :, :, 0] == 1).all()


def test_attention_is_what_the_block_adds_up_its_values_by() -> None:
    module = Transformer(**SMALL).build(32, None).eval()
    tokens = sequence(torch.randn(2, 7, 32))
    layer, weights = module.blocks[0].attention, module.attention(tokens, 0).weights
    value = (tokens.features @ layer.qkv.weight.T + layer.qkv.bias)[..., 64:].view(2, 7, 4, 8).transpose(1, 2)
    read = layer.projection((weights @ value).transpose(1, 2).reshape(2, 7, 32))
    expected = module(tokens, [HiddenState(block=0, feature="attention")]).hidden_states[0]
    torch.testing.assert_close(read, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_bfloat16_is_close_to_float32(norm: str) -> None:
    module = Transformer(width=64, depth=6, heads=4, norm=norm, positions=ALiBi(), **NO_DROPOUT).build(64, None)
    tokens, wanted = sequence(torch.randn(2, 50, 64)), HiddenState.last("ffn", 6, 6)
    exact = module(tokens, wanted)
    with torch.autocast("cpu", torch.bfloat16):
        rough = module(tokens, wanted)
    assert rough.output.dtype == torch.float32
    for one, other in zip([exact.output, *exact.hidden_states], [rough.output, *rough.hidden_states], strict=True):
        assert (one - other).norm() < 0.02 * one.norm()


def test_the_two_ways_of_attention_on_a_cpu_agree() -> None:
    module = Transformer(**SMALL, positions=ALiBi()).build(32, None).eval()
    tokens = sequence(torch.randn(3, 20, 32), torch.arange(20) >= torch.tensor([[20], [13], [1]]))
    with torch.no_grad():
        fused = module(tokens).output
    torch.testing.assert_close(module(tokens).output, fused, atol=1e-5, rtol=1e-4)


def test_every_parameter_gets_a_gradient() -> None:
    spec = Transformer(**SMALL, norm="pre", layer_scale=0.1, key_bias=False, input_norm=True, positions=BEiTBias())
    module = spec.build(32, Layout((3, 4)))
    tokens = Tokens(features=torch.randn(2, 13, 32, requires_grad=True), layout=Layout((3, 4)), num_prefix_tokens=1)
    (module(tokens).output * torch.randn(2, 13, 32)).sum().backward()
    assert tokens.features.grad.abs().sum() > 0
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_gradients_of_a_block_equal_finite_differences(norm: str) -> None:
    spec = Transformer(width=8, depth=1, heads=2, norm=norm, layer_scale=0.5, **NO_DROPOUT)
    block = spec.build(8, None).double().blocks[0]
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, bias: block(x, bias)[0], (x, bias))


# ── Randomness in training ────────────────────────────────────────────────────────────────────────────────────────────


def test_evaluation_draws_nothing() -> None:
    spec = Transformer(**SMALL, dropout=0.5, attention_dropout=0.5, activation_dropout=0.5, input_dropout=0.5)
    module = spec.evolve(layer_drop=0.5, drop_path=0.5).build(32, None).eval()
    tokens = sequence(torch.randn(2, 7, 32))
    before = torch.random.get_rng_state()
    assert torch.equal(module(tokens).output, module(tokens).output)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_same_seed_gives_the_same_dropout() -> None:
    module = Transformer(**SMALL, layer_drop=0.3, drop_path=0.3).build(32, None)
    tokens = sequence(torch.randn(2, 7, 32))
    outputs = []
    for seed in (1, 1, 2):
        seed_step(seed, 0, 0)
        outputs.append(module(tokens).output)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_processes_skip_the_same_blocks_whatever_else_they_draw() -> None:
    module = Transformer(width=4, depth=10, heads=1, dropout=0.1, layer_drop=0.5).build(4, None)
    skipped = []
    for rank, rows in ((0, 1), (1, 3)):
        calls: list[int] = []
        hooks = [
            block.register_forward_hook(lambda *_, calls=calls, i=i: calls.append(i))
            for i, block in enumerate(module.blocks)
        ]
        seed_step(0, 7, rank)
        module(sequence(torch.randn(rows, 2, 4)))
        skipped.append(calls)
        for hook in hooks:
            hook.remove()
    assert skipped[0] == skipped[1]
    assert 0 < len(skipped[0]) < 10


def test_layer_drop_skips_its_share_of_blocks() -> None:
    module = Transformer(width=4, depth=10, heads=1, layer_drop=0.3).build(4, None)
    calls = []
    for block in module.blocks:
        block.register_forward_hook(lambda module, inputs, output: calls.append(module))
    for _ in range(200):
        module(sequence(torch.randn(1, 2, 4)))
    assert abs(len(calls) / 2000 - 0.7) < 0.04  # four standard deviations


def test_a_block_whose_feature_is_asked_for_is_never_skipped() -> None:
    module = Transformer(width=4, depth=10, heads=1, layer_drop=0.9).build(4, None)
    for _ in range(10):
        assert len(module(sequence(torch.randn(1, 2, 4)), HiddenState.last("ffn", 6, 10)).hidden_states) == 6


def test_drop_path_rises_linearly_and_keeps_the_expectation() -> None:
    module = Transformer(width=4, depth=5, heads=1, drop_path=0.4, norm="pre", dropout=0.0).build(4, None)
    assert [block.ffn_residual.drop_path for block in module.blocks] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    residual = module.blocks[-1].ffn_residual
    joined = residual.join(torch.zeros(20_000, 1, 4), torch.ones(20_000, 1, 4))
    kept = joined[:, 0, 0] > 0
    assert (joined == joined[:, :, :1]).all()  # a row is kept or dropped as a whole
    assert abs(kept.float().mean() - 0.6) < 0.02
    assert abs(joined.mean() - 1) < 0.03
    residual.eval()
    assert (residual.join(torch.zeros(1, 1, 4), torch.ones(1, 1, 4)) == 1).all()


def test_blocks_that_drop_their_path_at_different_rates_are_compiled_as_one() -> None:
    from torch._dynamo.testing import CompileCounter

    torch.compiler.reset()
    counter = CompileCounter()
    module = Transformer(width=4, depth=20, heads=1, drop_path=0.4, norm="pre", dropout=0.0).build(4, None)
    for block in module.blocks:
        block.compile(backend=counter)
    module(sequence(torch.randn(3, 2, 4))).output.sum().backward()
    assert 1 <= counter.frame_count <= 4
    torch.compiler.reset()


# ── How it starts, and what does not fit ──────────────────────────────────────────────────────────────────────────────


SPEECH = Transformer(input_norm=True, input_dropout=0.1, layer_drop=0.05)
IMAGES = Transformer(norm="pre", layer_scale=1e-4, key_bias=False, positions=BEiTBias())


@pytest.mark.parametrize(
    ("spec", "layout", "elsewhere", "published"),
    [
        # elsewhere: feature encoder's convolutions, its norm, projection, positional convolutions, mask embedding
        (SPEECH, None, 4_206_592 + 1_024 + 393_984 + 3_505_920 + 768, 93_164_288),
        # embeddings of 50 265 tokens and 514 positions, their norm
        (Transformer(), None, 50_265 * 768 + 514 * 768 + 1_536, 124_054_272),
        # patch embedding, class token, mask token
        (IMAGES, Layout((14, 14)), 590_592 + 2 * 768, 85_666_128),
        (
            IMAGES.evolve(width=1024, depth=24, heads=16, layer_scale=1e-5),
            Layout((14, 14)),
            3 * 256 * 1024 + 1024 + 2 * 1024,
            303_137_216,
        ),
        # data2vec 2.0 on images: patch embedding, class token
        (Transformer(input_norm=True), Layout((14, 14)), 590_592 + 768, 85_647_360),
    ],
    ids=["speech base", "text base", "images base", "images large", "data2vec 2.0 images base"],
)
def test_parameters_are_as_many_as_in_the_published_models(
    spec: Transformer, layout: Layout | None, elsewhere: int, published: int
) -> None:
    with torch.device("meta"):
        module = spec.build(spec.width, layout)
    assert sum(parameter.numel() for parameter in module.parameters()) + elsewhere == published


def test_normal_initialization_gives_its_standard_deviation_and_no_bias() -> None:
    module = Transformer(width=128, depth=2, heads=2, initialization=NormalInitialization(std=0.05)).build(128, None)
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all(), name
        elif "norm" not in name:
            assert abs(parameter.std() - 0.05) < 0.002, name


def test_depth_scaled_initialization_cuts_the_tails_and_shrinks_branches_with_depth() -> None:
    spec = Transformer(width=128, depth=4, heads=2, initialization=DepthScaledInitialization())
    module = spec.build(128, None)
    for number, block in enumerate(module.blocks, start=1):
        for layer, divisor in [
            (block.attention.qkv, 1.0),
            (block.ffn.inner, 1.0),
            (block.attention.projection, (2 * number) ** 0.5),
            (block.ffn.outer, (2 * number) ** 0.5),
        ]:
            assert layer.weight.abs().max() <= 0.02 / divisor
            # the standard deviation of a normal distribution cut at one of its own is 0.5396
            assert abs(layer.weight.std() * divisor - 0.5396 * 0.02) < 0.0005
            assert (layer.bias == 0).all()


def test_an_encoder_of_another_width_is_an_error_that_names_both() -> None:
    with pytest.raises(SpecError, match=r"Transformer\(width=768\) stands behind an encoder of width 512"):
        Transformer(width=768).build(512, None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": 5}, r"heads must be a divisor of width \(768\), got 5"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"ffn_ratio": 0.3331}, "ffn_ratio must be above 0 and a whole number"),
        ({"norm": "middle"}, "norm must be one of 'post', 'pre'"),
        ({"layer_scale": 0.0}, "layer_scale must be above 0, or None"),
    ],
)
def test_a_field_out_of_range_is_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Transformer(**fields)


@pytest.mark.slow
def test_a_compiled_block_equals_an_eager_one() -> None:
    block = Transformer(**SMALL, layer_scale=0.5, **NO_DROPOUT).build(32, None).blocks[0]
    x, bias = torch.randn(2, 9, 32), torch.randn(1, 4, 9, 9)
    results = []
    for call in (block, torch.compile(block)):
        inputs = x.clone().requires_grad_(), bias.clone().requires_grad_()
        output, (feature,) = call(*inputs, ("ffn",))
        gradients = torch.autograd.grad((output * x).sum(), [*inputs, *block.parameters()])
        results.append([output, feature, *gradients])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, atol=1e-5, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("autocast", [False, True])
def test_a_gpu_gives_what_the_cpu_gives(autocast: bool) -> None:
    spec = Transformer(width=64, depth=3, heads=4, norm="pre", layer_scale=0.5, positions=BEiTBias(), **NO_DROPOUT)
    module = spec.build(64, Layout((5, 5)))
    module.positions.table.data.normal_()
    features = torch.randn(3, 26, 64)
    padding = torch.arange(26) >= torch.tensor([[26], [20], [0]])
    results = []
    for device in ("cpu", "cuda"):
        module.to(device).zero_grad()
        tokens = Tokens(
            features=features.to(device), layout=Layout((5, 5)), padding=padding.to(device), num_prefix_tokens=1
        )
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            output = module(tokens).output
        (output * torch.arange(64, device=device)).mean().backward()
        results.append([output[:2, :20].cpu(), *(p.grad.float().cpu() for p in module.parameters())])
    for cpu, gpu in zip(*results, strict=True):
        assert (cpu - gpu).norm() <= (0.05 if autocast else 1e-3) * cpu.norm() + 1e-4
