"""The rules that every backbone must follow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import get_args

import attrs
import torch

from didact.contracts.network import BackboneModule
from didact.errors import SpecError
from didact.randomness import generator, seeded
from didact.tensors import Feature, HiddenState, Layout, Tokens
from didact_kit.closeness import assert_close, assert_finite
from didact_kit.examples import SEED, Case
from didact_kit.rules import NotJudged

ROWS = 3


@torch.no_grad()
def check_shapes(case: Case) -> None:
    """Checks that the output is (R, V, D) with the module's width, finite, and pooled if ``pooled_width`` is set."""
    module, tokens = _module(case), _tokens(case)
    assert isinstance(module.width, int), f"width must be an int, got {module.width!r}"
    assert len(module.blocks) >= 1, "it has no blocks, by which hidden states are numbered"
    result = module(tokens)
    rows, count, _ = tokens.features.shape
    if result.tokens is tokens:  # otherwise the backbone describes its vectors itself
        expected, got = (rows, count, module.width), tuple(result.output.shape)
        assert got == expected, f"the output is {got}, and (R, V, D) is {expected}"
    assert_finite(result.output, "the output")
    given = result.output.dtype
    assert given == tokens.features.dtype, f"the output is {given} for vectors of {tokens.features.dtype}"
    assert result.hidden_states == (), "it gives hidden states that were not requested"
    promised = "None" if module.pooled_width is None else f"{module.pooled_width}"
    given = None if result.pooled is None else tuple(result.pooled.shape)
    fits = given == (None if module.pooled_width is None else (rows, module.pooled_width))
    assert fits, f"pooled is {given} for R = {rows}, and pooled_width is {promised}"


@torch.no_grad()
def check_repetition(case: Case) -> None:
    """Checks that passes over the same vectors give the same result in evaluation mode."""
    module = _module(case)
    one, other = (module(_tokens(case)).output for _ in range(2))
    assert torch.equal(one, other), "two passes over the same vectors give two results in evaluation mode"


@torch.no_grad()
def check_features(case: Case) -> None:
    """Checks that hidden states have the output's shape, follow the request's order, and change nothing else."""
    module, tokens = _module(case), _tokens(case)
    plain, depth = module(tokens), len(module.blocks)
    kinds = tuple(_kinds(module, tokens))
    if not kinds:
        raise NotJudged("it gives no hidden states")
    for feature in kinds:
        upwards = HiddenState.last(feature, depth, depth)
        every = module(tokens, upwards)
        assert_close(every.output, plain.output, f"the output with and without a request for {feature}")
        got = len(every.hidden_states)
        assert got == depth, f"it gives {got} hidden states for a request of {feature} of {depth} blocks"
        for values in every.hidden_states:
            assert values.shape == plain.output.shape, (
                f"{feature} is {tuple(values.shape)}, and the output {tuple(plain.output.shape)}"
            )
        downwards = module(tokens, upwards[::-1]).hidden_states[::-1]
        for block, (one, other) in enumerate(zip(every.hidden_states, downwards, strict=True)):
            assert_close(other, one, f"{feature} of block {block}, requested in both orders")
        (top,) = module(tokens, upwards[-1:]).hidden_states
        assert_close(top, every.hidden_states[-1], f"{feature} of the last block, requested alone and with the others")

        _check_numbers(module, tokens, feature)


def _check_numbers(module: BackboneModule, tokens: Tokens, feature: Feature) -> None:
    """Checks that a block's weights change its own hidden state, and none of the blocks below."""
    depth = len(module.blocks)
    states = HiddenState.last(feature, depth, depth)
    before = [state.clone() for state in module(tokens, states).hidden_states]
    for number, block in enumerate(module.blocks):
        others = {id(weight) for other in module.blocks if other is not block for weight in other.parameters()}
        weights = list(block.parameters())
        if not weights or any(id(weight) in others for weight in weights):
            continue  # blocks that share weights cannot be told apart by them
        kept = [weight.clone() for weight in weights]
        for weight in weights:
            weight.add_(torch.randn(weight.shape, generator=generator(SEED, "weight")))
        after = module(tokens, states).hidden_states
        for weight, value in zip(weights, kept, strict=True):
            weight.copy_(value)
        for below in range(number):
            same = torch.equal(after[below], before[below])
            assert same, f"{feature} of block {below} changes with the weights of block {number}, which is above it"
        own = feature == "attention" or not torch.equal(after[number], before[number])
        assert own, f"{feature} of block {number} does not change with the block's weights"


@torch.no_grad()
def check_blocks(case: Case) -> None:
    """Checks that ``forward`` calls each block as a module, from lower to upper."""
    module, tokens, called = _module(case), _tokens(case), list[int]()
    hooks = [
        block.register_forward_hook(lambda *_, number=number: called.append(number))
        for number, block in enumerate(module.blocks)
    ]
    module(tokens)
    for hook in hooks:
        hook.remove()
    missing = [number for number in range(len(hooks)) if number not in called]
    assert not missing, f"forward does not call block {missing[0]} of {len(hooks)} as a module"
    first = sorted(set(called), key=called.index)
    assert first == sorted(first), f"forward calls its blocks in the order {first}"


@torch.no_grad()
def check_declaration(case: Case) -> None:
    """Checks that a backbone gives the features that it declares, and supports padding and dropping if it says so."""
    module, tokens = _module(case), _tokens(case)
    module(tokens)  # an error of every pass is raised here
    for feature in get_args(Feature):
        declared = feature in module.features
        try:
            module(tokens, HiddenState.last(feature, 1, len(module.blocks)))
        except SpecError as refusal:
            if declared:
                raise AssertionError(f"features declares {feature!r}, and forward refuses it: {refusal.what}") from None
        except Exception as error:  # foreign code
            where = "features declares it" if declared else "it must be refused with a SpecError"
            what = f"a request for {feature!r} fails, and {where}: {type(error).__name__}: {error}"
            raise AssertionError(what) from error
        else:
            assert declared, f"forward gives {feature!r}, and features does not declare it"
    _check_padding_is_supported(case, module, tokens)
    _check_dropping_is_supported(case, module, tokens)
    if case.spec.supports_accumulation and not case.draws:
        module.train()
        whole, alone = module(tokens), module(attrs.evolve(tokens, features=tokens.features[:2]))
        what = "supports_accumulation is True, and in training, a row beside one other row and beside two"
        assert_close(alone.output, whole.output[:2], what)
        if alone.pooled is not None and whole.pooled is not None:
            assert_close(alone.pooled, whole.pooled[:2], f"{what}, pooled")


def _check_padding_is_supported(case: Case, module: BackboneModule, tokens: Tokens) -> None:
    padded = _padded(tokens)
    if not case.spec.supports_padding:
        right = False
        with contextlib.suppress(Exception):  # foreign code, which need not be able to do this
            _check_padded_rows(module, tokens, padded, varies=case.network().layout is None)
            right = True
        assert not right, "supports_padding is False, and padding changes no result: return True"
        return
    _require_support("supports_padding", module, padded)


def _check_dropping_is_supported(case: Case, module: BackboneModule, tokens: Tokens) -> None:
    """Checks that a sequence without some positions is taken, and that a position's own code follows it.

    A position that stands alone, because all others are dropped, is compared with one that stands alone because all
    others are padding. How positions relate to neighbours across a gap is up to the backbone.
    """
    if not case.spec.supports_dropping:
        return
    positions = tokens.features.shape[1] - tokens.num_prefix_tokens
    _require_support("supports_dropping", module, _dropped(tokens, [at for at in range(positions) if at % 3 != 1]))
    last = positions - 1
    if not case.spec.supports_padding or last == 0:
        return
    try:
        _check_padded_rows(module, tokens, _padded(tokens), varies=case.network().layout is None)
    except AssertionError:
        return  # the rule `padding` reports it
    padding = torch.ones(tokens.features.shape[:2], dtype=torch.bool)
    padding[:, -1] = False  # prefix tokens are padding, too, because they would be neighbours
    noisy = torch.where(padding[..., None], 100.0, tokens.features)
    padded = [module(attrs.evolve(tokens, padding=padding, features=one)).output for one in (tokens.features, noisy)]
    short = _dropped(tokens, [last])
    alone = module(attrs.evolve(short, padding=padding[:, -short.features.shape[1] :])).output
    own_vectors = padded[0].shape[1] == tokens.features.shape[1] and alone.shape[1] == short.features.shape[1]
    if own_vectors and torch.allclose(padded[0][:, -1], padded[1][:, -1], atol=1e-4):
        what = f"supports_dropping is True, and the output of position {last}, with the others dropped and as padding"
        assert_close(alone[:, -1], padded[0][:, -1], what, tolerance=1e-4)


def _dropped(tokens: Tokens, kept: Sequence[int]) -> Tokens:
    """The tokens of some positions."""
    places = torch.tensor([*range(tokens.num_prefix_tokens), *(tokens.num_prefix_tokens + at for at in kept)])
    positions = torch.tensor(kept).expand(len(tokens.features), -1)  # (R, V)
    return attrs.evolve(tokens, features=tokens.features[:, places], positions=positions)


def _require_support(name: str, module: BackboneModule, tokens: Tokens) -> None:
    try:
        output = module(tokens).output
    except Exception as error:  # foreign code, or a refusal
        what = error.what if isinstance(error, SpecError) else f"{type(error).__name__}: {error}"
        raise AssertionError(f"{name} is True, and forward refuses such tokens: {what}") from error
    assert_finite(output, f"{name} is True, and the output")


@torch.no_grad()
def check_padding(case: Case) -> None:
    """Checks that a row's result does not depend on its padding or on other rows."""
    module, tokens = _module(case), _tokens(case)
    padded = _padded(tokens)
    try:
        module(padded)
    except SpecError as refusal:
        raise NotJudged(f"it takes no padding: {refusal.what}") from refusal
    if not case.spec.supports_padding:
        raise NotJudged("its supports_padding is False")
    _check_padded_rows(module, tokens, padded, varies=case.network().layout is None)


def _check_padded_rows(module: BackboneModule, tokens: Tokens, padded: Tokens, *, varies: bool) -> None:
    rows, count, _ = tokens.features.shape
    held, padding = _held(tokens), padded.padding
    assert padding is not None
    wanted = next((HiddenState.last(feature, 1, len(module.blocks)) for feature in _kinds(module, tokens)), ())
    result = module(padded, wanted)
    assert_finite(result.output, "the output of padded rows")
    noisy = torch.where(padding[..., None], 100.0, tokens.features)
    again = module(attrs.evolve(padded, features=noisy), wanted)
    own_vectors = result.output.shape[1] == count
    for row in range(rows):
        own = slice(0, held[row] if own_vectors else None)
        assert_close(again.output[row, own], result.output[row, own], "the output before and after noise at padding")
        for noised, state in zip(again.hidden_states, result.hidden_states, strict=True):
            assert_close(noised[row, own], state[row, own], "hidden states before and after noise at padding")
    if result.pooled is not None:
        assert_close(again.pooled, result.pooled, "the pooled output before and after noise at padding")
    if own_vectors and varies:
        for row in range(rows):
            alone = module(_shortened(tokens, row, held[row])).output
            assert_close(result.output[row, : held[row]], alone[0], "a row with padding and the same row without it")
    whole = module(tokens)
    assert_close(result.output[0], whole.output[0], "a row without padding, beside padded rows and beside others")
    one = module(attrs.evolve(tokens, features=tokens.features[:1]))
    assert_close(one.output, whole.output[:1], "a row alone and beside others")


@torch.no_grad()
def check_attention(case: Case) -> None:
    """Checks that attention weights are shares of the vectors, 0 at padding, and that a request changes nothing."""
    module, tokens = _module(case), _tokens(case)
    if module.attention(tokens, 0) is None:
        raise NotJudged("it does not implement attention")
    rows, count, _ = tokens.features.shape
    padding = torch.arange(count) >= torch.tensor(_held(tokens))[:, None]  # (R, V)
    padded = attrs.evolve(tokens, padding=padding)
    try:
        before = module(padded).output
    except SpecError:
        padded, padding, before = tokens, torch.zeros_like(padding), module(tokens).output
    for block in range(len(module.blocks)):
        attention = module.attention(padded, block)
        assert attention is not None, f"it gives the attention of block 0, and None for block {block}"
        weights, got = attention.weights, tuple(attention.weights.shape)
        assert len(got) == 4, f"the attention of block {block} must be (R, H, Q, V), got {got}"
        expected = (rows, got[1], got[2] if attention.latent else count, count)
        assert got == expected, f"the attention of block {block} is {got}, and (R, H, Q, V) is {expected}"
        assert weights.dtype == torch.float32, f"attention must be float32, got {weights.dtype}"
        assert_finite(weights, "attention")
        assert bool((weights >= 0).all()), "an attention weight is negative"
        assert_close(weights.sum(-1), torch.ones(weights.shape[:3]), "the sum of a query's attention weights and 1")
        read = weights.amax((1, 2))[padding]  # (R, V) -> (padding,)
        assert not bool(read.any()), "padding has attention weights above 0"
    assert_close(module(padded).output, before, "the output before and after a request for attention", tolerance=0.0)


def check_gradients(case: Case) -> None:
    """Checks that a gradient at the output reaches every weight and the encoder's vectors."""
    module, tokens = _module(case), _tokens(case)
    features = tokens.features.clone().requires_grad_()
    result = module(attrs.evolve(tokens, features=features))
    output = result.output if result.pooled is None else result.pooled
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
    """Checks that another width is accepted, or refused with an error that names the width and has a hint."""
    encoder, network = case.experiment.of_view(0)[0], case.network()
    try:
        case.spec.build(encoder.width + 1, network.layout)
    except SpecError as refusal:
        named = str(encoder.width + 1) in str(refusal)
        if not named or not refusal.hint:
            lack = "has no hint" if named else "does not name it"
            raise AssertionError(f"the error about the width {encoder.width + 1} {lack}: {refusal.what}") from None
    except Exception as error:  # foreign code
        what = f"{type(error).__name__}: {error}"
        raise AssertionError(f"the width {encoder.width + 1} fails without a SpecError: {what}") from error
    else:
        raise NotJudged("it accepts any width")


def _shortened(tokens: Tokens, row: int, held: int) -> Tokens:
    """The first vectors of one row, as a sequence of its own."""
    layout = Layout((held - tokens.num_prefix_tokens,))
    return attrs.evolve(tokens, features=tokens.features[row : row + 1, :held], layout=layout)


def _padded(tokens: Tokens) -> Tokens:
    """The tokens with padding at the end of some rows."""
    count = tokens.features.shape[1]
    return attrs.evolve(tokens, padding=torch.arange(count) >= torch.tensor(_held(tokens))[:, None])  # (R, V)


def _held(tokens: Tokens) -> list[int]:
    """The number of data vectors in each row: all of the first row, half of the second, one position of the third."""
    count, prefix = tokens.features.shape[1], tokens.num_prefix_tokens
    return [count, max(1 + prefix, count // 2), 1 + prefix]


def _kinds(module: BackboneModule, tokens: Tokens) -> Iterator[Feature]:
    """Yields the kinds of hidden states that the module gives; the others raise a `SpecError`."""
    for feature in get_args(Feature):
        try:
            module(tokens, HiddenState.last(feature, 1, len(module.blocks)))
        except SpecError:
            continue
        yield feature


def _module(case: Case) -> BackboneModule:
    layout = case.network().layout
    with seeded(SEED, "check", "backbone"):
        module: BackboneModule = case.spec.build(case.experiment.of_view(0)[0].width, layout).eval()
    return module


def _tokens(case: Case) -> Tokens:
    """Returns noise in the shape of the experiment's placed tokens, without padding."""
    network = case.network()
    with torch.no_grad():
        view = case.batch([0] * ROWS, masked=False).views[0]
        placed = network.encoder.place(network.encoder.embed(view), None)
    noise = torch.randn(placed.features.shape, generator=generator(SEED, "tokens"))
    return attrs.evolve(placed, features=noise, padding=None)
