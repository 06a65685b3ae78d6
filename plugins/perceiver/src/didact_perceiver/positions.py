"""Where a position lies, as Fourier features: the same for sequences, images and anything else on a grid."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from didact import Layout, Spec, Tokens


@attrs.frozen(kw_only=True)
class FourierPositions(Spec):
    """Sines and cosines of a position's coordinates, and the coordinates themselves.

    Jaegle et al. 2021, Perceiver, section 3.2: along each axis a coordinate x from -1 to 1, sin(π f x) and cos(π f x)
    for frequencies f evenly spaced from 1 to half the axis's size, where neighbours differ most.

    Attributes:
        bands: how many frequencies along each axis; 64 in Perceiver, on ImageNet.
        longest: the size for which sequences of varying length are coded, so that what a sample looks like does not
            depend on the others in its batch. Longer ones go on beyond 1. Where all samples have one size, that is it.
    """

    bands: int = 64
    longest: int = 2048

    def validate(self) -> None:
        self.require(self.bands >= 1, "bands", "at least 1")
        self.require(self.longest >= 2, "longest", "at least 2")

    def width(self, axes: int) -> int:
        """F, how many features there are of positions with so many coordinates."""
        return axes * (2 * self.bands + 1)

    def of_tokens(self, tokens: Tokens, fixed: bool) -> Tensor:
        """The features (1 or R, V, F) of what tokens but extra ones stand for; ``fixed`` as for `at`."""
        device = tokens.features.device
        places = tokens.positions  # (R, V) or None
        if places is None:
            places = torch.arange(tokens.layout.positions, device=device)[None]  # (1, T)
        return self.at(places, tokens.layout, fixed)

    def at(self, places: Tensor, layout: Layout, fixed: bool) -> Tensor:
        """The features of positions.

        Args:
            places: (…) int64, positions in the layout, row by row.
            layout: with A axes.
            fixed: whether all samples have this layout; else the last axis is coded for `longest`.

        Returns:
            (…, F) float32.
        """
        coded = []
        for axis, index in enumerate(_unravel(places, layout.shape)):
            size = layout.shape[axis] if fixed or axis < len(layout.shape) - 1 else self.longest
            x = (2 * index.double() + 1) / size - 1  # (…), the middle of the position
            frequencies = torch.linspace(1, max(1, size / 2), self.bands, dtype=torch.float64, device=places.device)
            angles = math.pi * x[..., None] * frequencies  # (…, bands)
            coded += [angles.sin(), angles.cos(), x[..., None]]
        return torch.cat(coded, -1).float()  # coded in float64: π f x of a long sequence has few digits left


def _unravel(places: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    """The coordinates (…) along each axis of places (…) in a grid."""
    coordinates = []
    for size in reversed(shape):
        coordinates.append(places % size)
        places = places // size
    return coordinates[::-1]
