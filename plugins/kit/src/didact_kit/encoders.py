"""The rules that every feature encoder must follow."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import torch

from didact.contracts.network import FeatureEncoderModule
from didact.errors import SpecError
from didact.loading import collate
from didact.randomness import generator, seeded
from didact.tensors import BatchMask, Corruption, Mask, Tokens
from didact_kit.closeness import assert_close, assert_finite
from didact_kit.examples import SEED, Case
from didact_kit.rules import NotJudged


@torch.no_grad()
def check_layout(case: Case) -> None:
    """Checks that *embed* gives the positions of `FeatureEncoder.layout`, and *place* keeps all without a mask."""
    encoder, module = case.spec, _module(case)
    for content in case.contents():
        layout = encoder.layout(tuple(content.shape))
        tokens = module.embed(collate([content], encoder))
        expected = (1, layout.positions, encoder.width)
        got = tuple(tokens.features.shape)
        assert got == expected, f"embed gives {got} for a sample {tuple(content.shape)}, and layout promises {expected}"
        assert tokens.layout == layout, f"embed gives the layout {tokens.layout}, and the view has {layout}"
        assert tokens.num_prefix_tokens == 0, "embed gives prefix tokens; place adds them"
        assert tokens.positions is None, "embed sets positions, which is None where no position is dropped"
        placed = module.place(tokens, None)
        held = placed.features.shape[1] - placed.num_prefix_tokens
        assert held == layout.positions, f"place without a mask keeps {held} of {layout.positions} positions"
        assert placed.layout == layout, f"place gives the layout {placed.layout}, and the tokens have {layout}"
        for name, values in (("embed", tokens.features), ("place", placed.features)):
            assert values.dtype == torch.float32, f"{name} gives {values.dtype}, and must give float32"
        assert_finite(placed.features, "the placed features")


@torch.no_grad()
def check_repetition(case: Case) -> None:
    """Checks that the same samples get the same vectors in evaluation mode."""
    module = _module(case)
    one, other = (module.place(module.embed(collate(case.contents(), case.spec)), None).features for _ in range(2))
    assert torch.equal(one, other), "the same samples get two results in evaluation mode"


@torch.no_grad()
def check_latents(case: Case) -> None:
    """Checks that latents have the width ``latent_width``, and that ``stride`` more values give one more position."""
    encoder, module, content = case.spec, _module(case), case.contents(1)[0]
    positions = encoder.layout(tuple(content.shape)).positions
    latents = module.embed(collate([content], encoder)).latents
    given = None if latents is None else tuple(latents.shape)
    promised = None if module.latent_width is None else (1, positions, module.latent_width)
    assert given == promised, f"embed gives latents of {given}, and latent_width promises {promised}"
    if module.stride is not None:
        *leading, last = content.shape
        more = encoder.layout((*leading, last + module.stride)).positions - positions
        assert more == 1, f"{module.stride} more values, which is its stride, give {more} more positions"
    elif given is None:
        raise NotJudged("it has neither latents nor a stride")


@torch.no_grad()
def check_padding(case: Case) -> None:
    """Checks that a sample is encoded equally alone and beside longer samples."""
    encoder, module, contents = case.spec, _module(case), case.contents()
    together = collate(contents, encoder)
    if together.padding is None:
        raise NotJudged("the example's samples are of one size")
    embedded = module.embed(together)
    assert embedded.padding is not None, "embed does not pass on the view's padding"
    placed = module.place(embedded, None)
    assert placed.padding is not None, "place does not pass on the padding"
    for index, content in enumerate(contents):
        alone = module.place(module.embed(collate([content], encoder)), None)
        held = alone.features.shape[1]
        assert_close(placed.features[index, :held], alone.features[0], "a padded sample and the same one alone")
        assert not bool(placed.padding[index, :held].any()), "a sample's own positions are marked as padding"
        assert bool(placed.padding[index, held:].all()), "positions beyond a sample are not marked as padding"


@torch.no_grad()
def check_leak(case: Case) -> None:
    """Checks that the result of *place* does not depend on content that a mask hides or drops."""
    module, served = _module(case), 0
    for kind, mask, tokens in _masked(case, module, masks=1):
        served += 1
        hidden = mask.predicted.any(1)[..., None]  # (B, 1, T) -> (B, T, 1)
        changed = attrs.evolve(tokens, features=tokens.features + 3.0 * hidden)
        assert_close(
            module.place(changed, mask).features,
            module.place(tokens, mask).features,
            f"place with two contents at positions that a mask {kind}s",
            tolerance=0.0,
        )
    assert served, "place refuses masks that hide and masks that drop; it must support one of them"


@torch.no_grad()
def check_replacements(case: Case) -> None:
    """Checks that *place* uses the embeddings of the ids of `replacements` at replaced positions."""
    module, vocabulary = _module(case), case.experiment.source.signal().vocabulary
    view = case.batch(masked=False).views[0]
    t = view.layout.positions
    held = torch.ones(len(view.content), t, dtype=torch.bool) if view.padding is None else ~view.padding
    replaced = (torch.arange(t) % 2 == 0) & held  # (B, T)
    drawn = torch.randint(1 << 62, replaced.shape, generator=generator(SEED, "replacement"))
    corruption = replaced * int(Corruption.REPLACE)
    masks = [
        Mask(predicted=predicted[None], corruption=fate[None].to(torch.uint8), replacement=numbers[None])
        for predicted, fate, numbers in zip(replaced, corruption, drawn, strict=True)
    ]
    mask = BatchMask.collate(masks, t)
    ids = module.replacements(mask)
    if ids is None:
        raise NotJudged("it does not implement replacements")
    assert vocabulary is not None, "replacements gives ids, and the source's values are not ids"
    got = tuple(ids.shape)
    assert got == tuple(mask.predicted.shape), f"replacements are {got}, and (B, M, T) is {tuple(mask.predicted.shape)}"
    least, most = int(ids.min()), int(ids.max())
    assert 0 <= least <= most < vocabulary, f"replacements range from {least} to {most}, and there are {vocabulary} ids"
    assert got[2] == view.content.shape[-1], "replacements gives one id for each position, and a position is not one id"
    other = attrs.evolve(view, content=torch.where(replaced, ids[:, 0], view.content))
    kept = attrs.evolve(mask, replaced=None, replacement=None)
    assert_close(
        module.place(module.embed(view), mask).features,
        module.place(module.embed(other), kept).features,
        "a sample with replaced ids, and the sample that holds the replacements",
    )


@torch.no_grad()
def check_rows(case: Case) -> None:
    """Checks that *place* gives row b·C + c for sample b with its context c, and the positions of its vectors."""
    module = _module(case)
    for masks, contexts in ((1, 1), (2, 2), (2, 1)):
        for _, mask, tokens in _masked(case, module, masks, contexts):
            placed = module.place(tokens, mask)
            _check_rows(placed, mask, contexts, tokens.features.shape[1])
            half = placed.features.shape[0] // 2
            assert_close(placed.features[:half], placed.features[half:], "the C rows of each of two equal samples")
    for kind, mask, tokens in _masked(case, module, masks=1):
        if kind == "drop":
            _check_codes(module, tokens, mask)


def _check_codes(module: FeatureEncoderModule, tokens: Tokens, mask: BatchMask) -> None:
    """Checks that dropping changes no position that stays, if *place* does not mix positions."""
    assert mask.visible is not None
    whole, hidden = module.place(tokens, None), mask.predicted.any(1)[..., None]  # (B, T, 1)
    changed = module.place(attrs.evolve(tokens, features=tokens.features + 3.0 * hidden), None)
    kept = mask.visible[..., None].expand(-1, -1, tokens.features.shape[-1])  # (R, V, D)
    one, other = (each.features[:, each.num_prefix_tokens :].gather(1, kept) for each in (whole, changed))
    if torch.equal(one, other):  # otherwise, what was dropped is missing in the mixture
        placed = module.place(tokens, mask)
        assert_close(placed.features[:, placed.num_prefix_tokens :], one, "a position, with others dropped and without")


@torch.no_grad()
def check_declaration(case: Case) -> None:
    """Checks that *place* does the corruptions that `FeatureEncoder.corruptions` declares, and no others."""
    module, content = _module(case), _longest(case)
    tokens = module.embed(collate([content] * 2, case.spec))
    noise = torch.randn(tokens.features.shape, generator=generator(SEED, "tokens"))  # of an encoder that centres, too
    tokens = attrs.evolve(tokens, features=noise)
    positions = tokens.layout.positions
    if positions < 2:
        raise NotJudged("the example's samples have one position")
    whole = module.place(tokens, None).features
    for kind in (Corruption.HIDE, Corruption.REPLACE, Corruption.DROP):
        word, declared = kind.name.lower(), kind in case.spec.corruptions
        mask = corrupted(kind, positions, samples=2)
        try:
            placed = module.place(tokens, mask).features
        except Exception as error:  # foreign code, or a refusal
            what = error.what if isinstance(error, SpecError) else f"{type(error).__name__}: {error}"
            if declared:
                raise AssertionError(f"corruptions declares {word}, and place refuses it: {what}") from error
            continue
        done = placed.shape != whole.shape or not torch.equal(placed, whole)
        assert done or not declared, f"corruptions declares {word}, and place leaves such positions as they are"
        assert declared or not done, f"place does what a mask says with {word}, and corruptions does not declare it"
    if module.position_parts is not None:
        _check_position_parts(module, tokens, whole)


def _check_position_parts(module: FeatureEncoderModule, tokens: Tokens, whole: torch.Tensor) -> None:
    """Checks that *place* of unmasked tokens depends on no other part than those that position_parts names."""
    listed = set(module.position_parts or ())  # some of them may not exist with these settings
    for name, parameter in module.named_parameters():
        if name.partition(".")[0] not in listed:
            parameter.add_(0.1)
            changed = module.place(tokens, None).features
            parameter.sub_(0.1)
            assert torch.equal(changed, whole), (
                f"place of unmasked tokens depends on {name}, and position_parts lacks it"
            )


def corrupted(kind: Corruption, positions: int, samples: int) -> BatchMask:
    """Returns the same mask for some samples: every other position is corrupted."""
    predicted = (torch.arange(positions) % 2 == 0)[None]  # (1, T)
    corruption = predicted.to(torch.uint8) * int(kind)
    numbers = (torch.arange(positions) + 1)[None] if kind == Corruption.REPLACE else None
    return BatchMask.collate(
        [Mask(predicted=predicted, corruption=corruption, replacement=numbers)] * samples, positions
    )


def check_gradients(case: Case) -> None:
    """Checks that a gradient at the result of *place* reaches every weight."""
    encoder, module = case.spec, _module(case)
    view = collate(case.contents(1), encoder)
    mask = next((mask for kind, mask, _ in _masked(case, module, masks=1) if kind == "hide"), None)
    if mask is not None:
        view = collate([_longest(case)] * 2, encoder)
    module.zero_grad()
    features = module.place(module.embed(view), mask).features.float()
    direction = torch.linspace(-1, 1, features.numel()).reshape(features.shape)
    (features * direction).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"no gradient reaches {name}"
            assert_finite(parameter.grad, f"the gradient of {name}")


def _module(case: Case) -> FeatureEncoderModule:
    with seeded(SEED, "check", "encoder"):
        module: FeatureEncoderModule = case.spec.build(case.experiment.source.signal()).eval()
    return module


def _longest(case: Case) -> torch.Tensor:
    return max(case.contents(), key=lambda content: case.spec.layout(tuple(content.shape)).positions)


def _masked(
    case: Case, module: FeatureEncoderModule, masks: int, contexts: int | None = None
) -> Iterator[tuple[str, BatchMask, Tokens]]:
    """Yields two equal samples with masks that hide or drop every other position, where the encoder supports them."""
    view = collate([_longest(case)] * 2, case.spec)
    positions = view.layout.positions
    if positions < 2 * masks:
        return
    predicted = torch.stack([torch.arange(positions) % 2 == start for start in range(masks)])  # (M, T)
    if masks == 2:
        predicted[:, positions // 2 * 2 :] = False  # equally many in each mask if T is odd
    with torch.no_grad():
        tokens = module.embed(view)
    for kind, make in (("hide", Mask.hide), ("drop", Mask.drop)):
        if Corruption[kind.upper()] not in case.spec.corruptions:
            continue
        one = make(predicted)
        one = attrs.evolve(one, corruption=one.corruption[:contexts])
        mask = BatchMask.collate([one] * 2, positions)
        try:
            with torch.no_grad():
                module.place(tokens, mask)
        except SpecError:
            continue
        yield kind, mask, tokens


def _check_rows(placed: Tokens, mask: BatchMask, contexts: int, positions: int) -> None:
    held = positions if mask.visible is None else mask.visible.shape[1]
    got, expected = tuple(placed.features.shape[:2]), (2 * contexts, held + placed.num_prefix_tokens)
    assert got == expected, f"place gives (R, V) = {got}, and B·C rows of visible and prefix vectors are {expected}"
    if mask.visible is not None:
        assert placed.positions is not None, "place drops positions and does not set positions"
        assert torch.equal(placed.positions, mask.visible), "positions are not the mask's visible ones, in order"
