"""An encoder of arrays of any modality, such as bytes, pixels or audio samples."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from didact import BatchMask, FeatureEncoder, FeatureEncoderModule, Layout, Signal, SpecError, Tokens, View
from didact.placing import corrupt, drop, repeat
from didact_perceiver.positions import FourierPositions


@attrs.frozen(kw_only=True)
class Arrays(FeatureEncoder):
    """Encodes patches of an array: a linear map of the values plus a linear map of the position's Fourier features.

    The sum equals one linear map of values and Fourier features concatenated, which is the input of Perceiver's
    cross-attention. An array with one axis is a sequence of values. With several axes, the first axis holds the
    channels and the others form a grid: a waveform (S,), an image (3, H, W), sensors (C, S). Ids, such as the bytes of
    a text, are treated as one-hot vectors.

    Attributes:
        width: D, the width of each vector.
        patch: size of a patch along each axis; 1 in Perceiver, where every pixel or byte is a position. Values left
            over at the end of an axis are dropped.
        positions: the position codes; use the same for the backbone.
    """

    width: int = 768
    patch: int = 1
    positions: FourierPositions = FourierPositions()

    def validate(self) -> None:
        self.require(self.width >= 1, "width", "at least 1")
        self.require(self.patch >= 1, "patch", "at least 1")

    def layout(self, size: tuple[int, ...]) -> Layout:
        axes = size[1:] if len(size) > 1 else size
        shape = tuple(length // self.patch for length in axes)
        if not all(shape):
            raise SpecError(
                f"an array {' × '.join(map(str, size))} has no patch of {self.patch} along each axis",
                where="patch",
                hint="choose a smaller patch, or leave such short samples out of the source",
            )
        return Layout(shape)

    def build(self, signal: Signal) -> ArraysModule:
        channels = signal.axes[0] if len(signal.axes) > 1 else 1
        if channels is None or (signal.vocabulary is not None and len(signal.axes) > 1):
            raise SpecError(
                f"Arrays reads sequences of values or ids, and grids of a known number of channels, but the source "
                f"gives {signal.kind!r} with the axes {signal.axes}",
                hint="use a source of images, waveforms, bytes or the like, or an encoder for this signal",
            )
        return ArraysModule(self, signal, channels)


class ArraysModule(FeatureEncoderModule):
    """The two linear maps and the mask embedding.

    Attributes:
        values: maps a patch's values. For ids it is a table with a vector for each id at each place in a patch, and the
            vectors of a patch are added.
        places: maps Fourier features.
        mask_embedding: (D,).
    """

    def __init__(self, spec: Arrays, signal: Signal, channels: int) -> None:
        super().__init__()
        self.spec = spec
        self.fixed = None not in signal.axes
        self.vocabulary = signal.vocabulary
        axes = max(1, len(signal.axes) - 1)
        if self.vocabulary is None:
            self.values: nn.Module = nn.Linear(channels * spec.patch**axes, spec.width)
        else:
            table = nn.Embedding(spec.patch * self.vocabulary, spec.width)
            nn.init.normal_(table.weight, std=(3 * spec.patch) ** -0.5)  # the linear map's scale for unit variance
            self.values = table
        self.places = nn.Linear(spec.positions.width(axes), spec.width, bias=False)
        self.mask_embedding = nn.Parameter(torch.randn(spec.width) * 3**-0.5)

    def no_weight_decay(self) -> set[str]:
        """The mask embedding, as BEiT and timm exempt theirs."""
        return {"mask_embedding"}

    def embed(self, view: View) -> Tokens:
        """Encodes content (B, C, *axes), or (B, S) without channels, as features (B, T, D)."""
        content = view.content if view.content.ndim > 2 else view.content[:, None]  # (B, S) -> (B, 1, S)
        patches = cut(content, self.spec.patch)  # (B, T, C·patch^A)
        if self.vocabulary is not None:
            offsets = torch.arange(self.spec.patch, device=patches.device) * self.vocabulary
            features = self.values(patches + offsets).sum(2)  # (B, T, patch, D) -> (B, T, D)
        else:
            features = self.values(patches)
        return Tokens(features=features, layout=view.layout, padding=view.padding)

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Hides positions, adds position codes and drops positions: features (B, T, D) to (R, V, D)."""
        features = corrupt(tokens.features, mask, self.mask_embedding, padding=tokens.padding)  # (R, T, D)
        features = features + self.places(self.spec.positions.of_tokens(tokens, self.fixed))
        return drop(attrs.evolve(tokens, features=features, padding=repeat(tokens.padding, mask)), mask)


def cut(content: Tensor, patch: int) -> Tensor:
    """Cuts arrays into patches.

    Args:
        content: (B, C, *axes), with A axes.
        patch: size of a patch along each axis; values left over are dropped.

    Returns:
        (B, T, C·patch^A), patches row by row.
    """
    axes = content.ndim - 2
    shape: list[int] = []
    for axis in range(2, content.ndim):
        count = content.shape[axis] // patch
        content = content.narrow(axis, 0, count * patch)
        shape += [count, patch]
    content = content.reshape(*content.shape[:2], *shape)  # (B, C, n, patch, m, patch, …)
    counts, inner = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    content = content.permute(0, *counts, 1, *inner)  # (B, n, m, …, C, patch, patch, …)
    return content.flatten(1 + axes).flatten(1, axes)
