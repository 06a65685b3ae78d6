"""What every backbone promises."""

from __future__ import annotations

import contextlib
from typing import get_args

import attrs
import torch

from didact.contracts import Backbone, BackboneModule
from didact.errors import SpecError
from didact.randomness import generator, seeded
from didact.tensors import Collect, Feature, Layout, Tokens
from didact.testing.closeness import assert_close, assert_finite, untouched_randomness

ROWS = 3


def check_backbone(backbone: Backbone, width: int, layout: Layout, extra: int = 0) -> None:
    """Contextualises random sequences, whole, padded and with positions dropped.

    Args:
        backbone: to check.
        width: of the vectors that it takes.
        layout: of a sample.
        extra: class tokens before the positions, for backbones that expect some.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    with seeded(0, "check", "backbone"):
        module = backbone.build(width, layout).eval()
    assert isinstance(module.width, int), "width is a number"
    assert len(module.blocks) >= 1, "blocks are what Collect counts"
    features = torch.randn(ROWS, extra + layout.positions, width, generator=generator(0, "tokens"))
    tokens = Tokens(features=features, layout=layout, extra=extra)
    _check_output(module, tokens)
    _check_collect(module, tokens)
    _check_padding(module, tokens)
    _check_gradients(module, tokens)
    _check_width(backbone, width, layout)


@torch.no_grad()
def _check_output(module: BackboneModule, tokens: Tokens) -> None:
    with untouched_randomness("in evaluation mode nothing is drawn"):
        context = module(tokens)
    rows, count, _ = tokens.features.shape
    if context.tokens is tokens:  # else the backbone says what its vectors stand for
        expected = (rows, count, module.width)
        assert tuple(context.output.shape) == expected, f"output is {expected}, got {tuple(context.output.shape)}"
    assert_finite(context.output, "the output is finite")
    assert context.features == (), "features come only where they are asked for"
    assert (context.summary is None) == (module.summary_width is None), "summary_width says whether there is a summary"
    if context.summary is not None:
        assert context.summary.shape == (rows, module.summary_width), "summary is (R, P)"
    one = module(attrs.evolve(tokens, features=tokens.features[:1]))
    assert_close(one.output, context.output[:1], "a row does not depend on the rows beside it")


@torch.no_grad()
def _check_collect(module: BackboneModule, tokens: Tokens) -> None:
    plain = module(tokens)
    depth = len(module.blocks)
    for feature in get_args(Feature):
        try:
            every = module(tokens, Collect(feature=feature, last=depth))
        except SpecError:
            continue  # it has no such feature, and says so
        assert_close(every.output, plain.output, "asking for features does not change the output")
        assert len(every.features) == depth, f"one {feature} for each of the {depth} blocks, got {len(every.features)}"
        for values in every.features:
            assert values.shape == plain.output.shape, f"{feature} is {tuple(plain.output.shape)}"
        top = module(tokens, Collect(feature=feature, last=1))
        assert len(top.features) == 1, "last=1 is one feature"
        assert_close(top.features[0], every.features[-1], "last counts from the top, lower to upper")


@torch.no_grad()
def _check_padding(module: BackboneModule, tokens: Tokens) -> None:
    rows, count, _ = tokens.features.shape
    held = [count, max(1 + tokens.extra, count // 2), 1 + tokens.extra]
    padding = torch.arange(count) >= torch.tensor(held)[:, None]  # (R, V)
    padded = attrs.evolve(tokens, padding=padding)
    try:
        module(padded)
    except SpecError:
        return  # it takes no padding, and says so
    collect = _some_feature(module, tokens)
    context = module(padded, collect)
    assert_finite(context.output, "padding gives nothing that is not finite")
    noisy = torch.where(padding[..., None], 100.0, tokens.features)
    again = module(attrs.evolve(tokens, features=noisy, padding=padding), collect)
    for row in range(rows):
        own = slice(0, held[row])
        assert_close(again.output[row, own], context.output[row, own], "what stands at padding changes nothing")
        for noisy_values, values in zip(again.features, context.features, strict=True):
            assert_close(noisy_values[row, own], values[row, own], "nor in the features")
    if context.summary is not None:
        assert_close(again.summary, context.summary, "nor in the summary")
    whole = module(tokens)
    assert_close(context.output[0], whole.output[0], "a row without padding is as it would be alone")


def _some_feature(module: BackboneModule, tokens: Tokens) -> Collect | None:
    """The topmost block's, of the first kind that the backbone has; None where it has none."""
    for feature in get_args(Feature):
        with contextlib.suppress(SpecError):
            module(tokens, collect := Collect(feature=feature, last=1))
            return collect
    return None


def _check_gradients(module: BackboneModule, tokens: Tokens) -> None:
    module.zero_grad()
    features = tokens.features.clone().requires_grad_()
    context = module(attrs.evolve(tokens, features=features))
    output = context.output if context.summary is None else context.summary
    direction = torch.randn(output.shape, generator=generator(0, "direction"))
    (output.float() * direction).sum().backward()
    assert features.grad is not None, "the gradient reaches the encoder"
    assert_finite(features.grad, "the gradient at the input is finite")
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"the gradient reaches every weight, but not {name}"
            assert_finite(parameter.grad, f"the gradient of {name} is finite")


def _check_width(backbone: Backbone, width: int, layout: Layout) -> None:
    try:
        backbone.build(width + 1, layout)
    except SpecError as error:
        said = error
    else:
        return  # it takes any width
    assert str(width + 1) in str(said), "an error about widths names the encoder's"
    assert said.mend, "an error about widths says how to mend it"
