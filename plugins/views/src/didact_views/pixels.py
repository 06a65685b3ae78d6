"""An encoder of raw pixels, one position each, for backbones that make patches or strides themselves."""

from __future__ import annotations

import attrs
import torch
from torch import nn

from didact import BatchMask, FeatureEncoder, FeatureEncoderModule, Layout, Signal, SpecError, Tokens, View
from didact.placing import corrupt, drop, repeat


@attrs.frozen(kw_only=True)
class Pixels(FeatureEncoder):
    """Encodes each pixel of an image as the vector of its channels, row by row, as `TimmModel` expects.

    A learned colour replaces hidden pixels. It starts as the mean of the normalised images.

    Attributes:
        width: number of channels of the image; 3.
    """

    width: int = 3

    def validate(self) -> None:
        self.require(self.width >= 1, "width", "at least 1")

    def layout(self, size: tuple[int, ...]) -> Layout:
        if len(size) != 3:
            raise SpecError(
                f"Pixels reads images (channels, height, width), got content of shape {size}",
                hint="use a source of images, such as didact_vision.Images",
            )
        return Layout(size[1:])

    def build(self, signal: Signal) -> PixelsModule:
        if signal.kind != "image" or len(signal.axes) != 3 or signal.axes[0] != self.width:
            raise SpecError(
                f"Pixels(width={self.width}) reads images of so many channels, but the source gives {signal.kind!r} "
                f"with the axes {signal.axes}",
                where="width",
                hint="use a source of images, such as didact_vision.Images, and its number of channels",
            )
        return PixelsModule(self.width)


class PixelsModule(FeatureEncoderModule):
    """The learned colour.

    Attributes:
        mask_embedding: (D,); the colour of hidden pixels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mask_embedding = nn.Parameter(torch.zeros(width))

    def no_weight_decay(self) -> set[str]:
        """The colour: decay would only pull it to the images' mean."""
        return {"mask_embedding"}

    def embed(self, view: View) -> Tokens:
        """Content (B, D, H, W) to features (B, H·W, D)."""
        features = view.content.flatten(2).transpose(1, 2)  # (B, D, H, W) -> (B, H·W, D), without copying
        return Tokens(features=features, layout=view.layout, padding=view.padding)

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Hides or drops: features (B, T, D) to (R, V, D)."""
        features = corrupt(tokens.features, mask, self.mask_embedding, padding=tokens.padding)
        return drop(attrs.evolve(tokens, features=features, padding=repeat(tokens.padding, mask)), mask)
