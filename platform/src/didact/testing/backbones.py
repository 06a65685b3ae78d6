"""What every backbone promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import attrs
import torch

from didact.contracts import BackboneModule
from didact.errors import SpecError
from didact.randomness import generator, seeded
from didact.tensors import Collect, Feature, Tokens
from didact.testing.closeness import assert_close, assert_finite
from didact.testing.examples import SEED, Case
from didact.testing.rules import NotJudged

ROWS = 3


@torch.no_grad()
def check_shapes(case: Case) -> None:
    """The output is (R, V, D) with the module's width, finite, and a summary comes where ``summary_width`` says so."""
    module, tokens = _module(case), _tokens(case)
    assert isinstance(module.width, int), f"width is a number, got {module.width!r}"
    assert len(module.blocks) >= 1, "it has no blocks, which Collect counts"
    context = module(tokens)
    rows, count, _ = tokens.features.shape
    if context.tokens is tokens:  # else the backbone says what its vectors stand for
        expected, got = (rows, count, module.width), tuple(context.output.shape)
        assert got == expected, f"the output is {got}, and (R, V, D) is {expected}"
    assert_finite(context.output, "the output")
    assert context.features == (), "features came where none were asked for"
    says = "no summary" if module.summary_width is None else f"a summary of {module.summary_width}"
    assert (context.summary is None) == (module.summary_width is None), f"summary_width says {says}, forward differs"
    if context.summary is not None:
        got = tuple(context.summary.shape)
        assert got == (rows, module.summary_width), f"the summary is {got}, and (R, P) is {rows, module.summary_width}"


@torch.no_grad()
def check_features(case: Case) -> None:
    """Features come as they are asked for, from lower to upper, counted from the top, and change nothing else."""
    module, tokens = _module(case), _tokens(case)
    plain, depth = module(tokens), len(module.blocks)
    kinds = tuple(_kinds(module, tokens))
    if not kinds:
        raise NotJudged("it says that it has no features")
    for feature in kinds:
        every = module(tokens, Collect(feature=feature, last=depth))
        assert_close(every.output, plain.output, f"the output with and without asking for {feature}")
        got = len(every.features)
        assert got == depth, f"{got} {feature} features for {depth} blocks"
        for values in every.features:
            assert values.shape == plain.output.shape, (
                f"{feature} is {tuple(values.shape)}, and the output {tuple(plain.output.shape)}"
            )
        top = module(tokens, Collect(feature=feature, last=1))
        assert len(top.features) == 1, f"last=1 gives {len(top.features)} features"
        assert_close(top.features[0], every.features[-1], f"the last of all {feature} features and that of last=1")


@torch.no_grad()
def check_padding(case: Case) -> None:
    """What stands at padding, and in other rows, changes nothing."""
    module, tokens = _module(case), _tokens(case)
    rows, count, _ = tokens.features.shape
    held = [count, max(1 + tokens.extra, count // 2), 1 + tokens.extra]
    padding = torch.arange(count) >= torch.tensor(held)[:, None]  # (R, V)
    padded = attrs.evolve(tokens, padding=padding)
    try:
        module(padded)
    except SpecError as refusal:
        raise NotJudged(f"it takes no padding: {refusal.what}") from refusal
    collect = next((Collect(feature=feature, last=1) for feature in _kinds(module, tokens)), None)
    context = module(padded, collect)
    assert_finite(context.output, "the output of padded rows")
    noisy = torch.where(padding[..., None], 100.0, tokens.features)
    again = module(attrs.evolve(padded, features=noisy), collect)
    own_vectors = context.output.shape[1] == count
    for row in range(rows):
        own = slice(0, held[row] if own_vectors else None)
        assert_close(again.output[row, own], context.output[row, own], "the output before and after noise at padding")
        for noised, feature in zip(again.features, context.features, strict=True):
            assert_close(noised[row, own], feature[row, own], "features before and after noise there")
    if context.summary is not None:
        assert_close(again.summary, context.summary, "the summary before and after noise at padding")
    whole = module(tokens)
    assert_close(context.output[0], whole.output[0], "a row without padding, beside padded rows and beside others")
    one = module(attrs.evolve(tokens, features=tokens.features[:1]))
    assert_close(one.output, whole.output[:1], "a row alone and beside others")


@torch.no_grad()
def check_attention(case: Case) -> None:
    """What it attends to are shares of what it was given, without padding, and asking for it changes nothing."""
    module, tokens = _module(case), _tokens(case)
    if module.attention(tokens, 0) is None:
        raise NotJudged("it does not tell what it attends to")
    rows, count, _ = tokens.features.shape
    padding = torch.arange(count) >= torch.tensor([count, max(1 + tokens.extra, count // 2), 1 + tokens.extra])[:, None]
    padded = attrs.evolve(tokens, padding=padding)
    try:
        before = module(padded).output
    except SpecError:
        padded, padding, before = tokens, torch.zeros_like(padding), module(tokens).output
    for block in range(len(module.blocks)):
        attention = module.attention(padded, block)
        assert attention is not None, f"it tells what block 0 attends to, and not what block {block} does"
        weights, got = attention.weights, tuple(attention.weights.shape)
        assert len(got) == 4, f"the attention of block {block} is {got}, and not (R, H, Q, V)"
        expected = (rows, got[1], got[2] if attention.latent else count, count)
        assert got == expected, f"the attention of block {block} is {got}, and (R, H, Q, V) is {expected}"
        assert weights.dtype == torch.float32, f"attention is float32, not {weights.dtype}"
        assert_finite(weights, "attention")
        assert bool((weights >= 0).all()), "a share of attention is negative"
        assert_close(weights.sum(-1), torch.ones(weights.shape[:3]), "the sum of what a query attends to and 1")
        read = weights.amax((1, 2))[padding]  # (R, V) -> (padding,)
        assert not bool(read.any()), "padding is attended to"
    assert_close(module(padded).output, before, "the output before and after asking for attention", tolerance=0.0)


def check_gradients(case: Case) -> None:
    """A gradient at the output reaches every weight, and the encoder's vectors."""
    module, tokens = _module(case), _tokens(case)
    features = tokens.features.clone().requires_grad_()
    context = module(attrs.evolve(tokens, features=features))
    output = context.output if context.summary is None else context.summary
    direction = torch.randn(output.shape, generator=generator(SEED, "direction"))
    assert output.requires_grad, "the output carries no gradient"
    (output.float() * direction).sum().backward()
    assert features.grad is not None, "no gradient reaches the encoder's vectors"
    assert_finite(features.grad, "the gradient at the encoder's vectors")
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"no gradient reaches {name}"
            assert_finite(parameter.grad, f"the gradient of {name}")


def check_widths(case: Case) -> None:
    """Another width is taken, or refused by an error that names it and says how to mend it."""
    encoder, network = case.experiment.encoder, case.network()
    try:
        case.spec.build(encoder.width + 1, network.layout)
    except SpecError as error:
        said = error
    else:
        raise NotJudged("it takes any width")
    assert str(encoder.width + 1) in str(said), f"the error about the width {encoder.width + 1} does not name it"
    assert said.mend, "the error about the width does not say how to mend it"


def _kinds(module: BackboneModule, tokens: Tokens) -> Iterator[Feature]:
    """The kinds of features that it has; it says of the others, by a `SpecError`, that it has not."""
    for feature in get_args(Feature):
        try:
            module(tokens, Collect(feature=feature, last=1))
        except SpecError:
            continue
        yield feature


def _module(case: Case) -> BackboneModule:
    layout = case.network().layout
    with seeded(SEED, "check", "backbone"):
        module: BackboneModule = case.spec.build(case.experiment.encoder.width, layout).eval()
    return module


def _tokens(case: Case) -> Tokens:
    """What the experiment's encoder places of its samples, as noise, without padding."""
    network = case.network()
    with torch.no_grad():
        view = case.batch([0] * ROWS, masked=False).views[0]
        placed = network.encoder.place(network.encoder.embed(view), None)
    noise = torch.randn(placed.features.shape, generator=generator(SEED, "tokens"))
    return attrs.evolve(placed, features=noise, padding=None)
