"""What every feature encoder promises."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from didact.contracts import FeatureEncoder, FeatureEncoderModule
from didact.errors import SpecError
from didact.loading import collate
from didact.randomness import seeded
from didact.tensors import BatchMask, Mask, Signal, Tokens
from didact.testing.closeness import assert_close, assert_finite


def check_encoder(encoder: FeatureEncoder, signal: Signal, contents: Sequence[Tensor]) -> None:
    """Encodes samples, alone and together, behind masks and whole.

    Args:
        encoder: to check.
        signal: what the samples are.
        contents: samples (*axes), of uneven size where the signal allows it.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    with seeded(0, "check", "encoder"):
        module = encoder.build(signal).eval()
        other = encoder.build(attrs.evolve(signal)).eval()
    assert len(module.state_dict()) == len(other.state_dict()), "building twice gives the same weights' names"
    _check_layout(encoder, module, contents)
    _check_padding(encoder, module, contents)
    supported = [_check_masks(encoder, module, contents, kind) for kind in ("hide", "drop")]
    assert any(supported), "an encoder serves masks that hide, or masks that drop"
    _check_gradients(encoder, module, contents, hides=supported[0])


@torch.no_grad()
def _check_layout(encoder: FeatureEncoder, module: FeatureEncoderModule, contents: Sequence[Tensor]) -> None:
    for content in contents:
        layout = encoder.layout(tuple(content.shape))
        view = collate([content], encoder)
        tokens = module.embed(view)
        expected = (1, layout.positions, encoder.width)
        assert tuple(tokens.features.shape) == expected, (
            f"embed gives what layout promised: features {expected}, got {tuple(tokens.features.shape)}"
        )
        assert tokens.layout == layout, f"embed gives the view's layout {layout}, got {tokens.layout}"
        assert tokens.extra == 0, "extra tokens come in place, not in embed"
        assert tokens.positions is None, "embed gives all positions"
        placed = module.place(tokens, None)
        assert placed.features.shape[1] == layout.positions + placed.extra, "place without a mask keeps all positions"
        assert placed.layout == layout, "place keeps the layout"
        assert_finite(placed.features, "an encoder gives finite vectors")


@torch.no_grad()
def _check_padding(encoder: FeatureEncoder, module: FeatureEncoderModule, contents: Sequence[Tensor]) -> None:
    together = collate(list(contents), encoder)
    if together.padding is None:
        return
    embedded = module.embed(together)
    assert embedded.padding is not None, "embed hands on the view's padding"
    placed = module.place(embedded, None)
    assert placed.padding is not None, "place hands on the padding"
    for index, content in enumerate(contents):
        alone = module.place(module.embed(collate([content], encoder)), None)
        held = alone.features.shape[1]
        assert_close(placed.features[index, :held], alone.features[0], "padding never changes a result")
        assert not bool(placed.padding[index, :held].any()), "a sample's own positions are no padding"
        assert bool(placed.padding[index, held:].all()), "what is beyond a sample is padding"


@torch.no_grad()
def _check_masks(encoder: FeatureEncoder, module: FeatureEncoderModule, contents: Sequence[Tensor], kind: str) -> bool:
    """Whether the encoder serves such masks; if so, that nothing masked shows."""
    content = max(contents, key=lambda content: encoder.layout(tuple(content.shape)).positions)
    view = collate([content, content], encoder)
    positions = view.layout.positions
    if positions < 2:
        return False
    predicted = torch.zeros(2, positions, dtype=torch.bool)
    predicted[0, ::2] = True  # two masks that have nothing in common
    predicted[1, 1::2] = True
    tokens = module.embed(view)
    for row in range(2):
        single = predicted[row : row + 1]
        mask = BatchMask.collate([getattr(Mask, kind)(single)] * 2, positions)
        try:
            placed = module.place(tokens, mask)
        except SpecError:
            return False
        hidden = single[..., None].expand(1, positions, tokens.features.shape[-1])
        changed = attrs.evolve(tokens, features=tokens.features + 3.0 * hidden)
        assert_close(
            module.place(changed, mask).features,
            placed.features,
            f"what a mask {kind}s never shows in what the student sees, nor in its position codes",
            tolerance=0.0,
        )
        _check_rows(placed, mask, 1, positions)
    if int(predicted[0].sum()) == int(predicted[1].sum()):  # two masks per sample, of equal counts
        mask = BatchMask.collate([getattr(Mask, kind)(predicted)] * 2, positions)
        placed = module.place(tokens, mask)
        _check_rows(placed, mask, 2, positions)
        assert_close(placed.features[:2], placed.features[2:], "row b·M + m is sample b behind its mask m")
    return True


def _check_rows(placed: Tokens, mask: BatchMask, masks: int, positions: int) -> None:
    held = positions if mask.visible is None else mask.visible.shape[1]
    assert placed.features.shape[:2] == (2 * masks, held + placed.extra), (
        f"place gives (R={2 * masks}, V={held} + extra), got {tuple(placed.features.shape[:2])}"
    )
    if mask.visible is not None:
        assert placed.positions is not None, "dropping says which positions the vectors stand for"
        assert torch.equal(placed.positions, mask.visible), "positions are the mask's visible ones, in order"


def _check_gradients(
    encoder: FeatureEncoder, module: FeatureEncoderModule, contents: Sequence[Tensor], hides: bool
) -> None:
    content = contents[0]
    view = collate([content], encoder)
    mask = None
    if hides and view.layout.positions > 1:
        predicted = torch.zeros(1, view.layout.positions, dtype=torch.bool)
        predicted[0, 0] = True
        mask = BatchMask.collate([Mask.hide(predicted)], view.layout.positions)
    module.zero_grad()
    features = module.place(module.embed(view), mask).features.float()
    (features * torch.linspace(-1, 1, features.numel()).reshape(features.shape)).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"the gradient reaches every weight, but not {name}"
            assert_finite(parameter.grad, f"the gradient of {name} is finite")
