"""Fourier features of positions in sequences, images and other grids."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from didact import Layout, Spec, Tokens


@attrs.frozen(kw_only=True)
class FourierPositions(Spec):
    """Position codes made of a position's coordinates and their sines and cosines.

    Jaegle et al. 2021, Perceiver, section 3.2. For each axis they contain the coordinate x from -1 to 1, sin(π f x) and
    cos(π f x). The frequencies f are evenly spaced from 1 to half the axis's size, the Nyquist frequency.

    Attributes:
        bands: number of frequencies for each axis; 64 in Perceiver, on ImageNet.
        longest: the size to which the coordinates of sequences of varying length are scaled, so that a sample's codes
            do not depend on the other samples in its batch. Coordinates of longer sequences exceed 1. It is not used if
            all samples have the same size.
    """

    bands: int = 64
    longest: int = 2048

    def validate(self) -> None:
        self.require(self.bands >= 1, "bands", "at least 1")
        self.require(self.longest >= 2, "longest", "at least 2")

    def width(self, axes: int) -> int:
        """F, the number of features for positions with this number of axes."""
        return axes * (2 * self.bands + 1)

    def of_tokens(self, tokens: Tokens, fixed: bool) -> Tensor:
        """Computes the features (1 or R, V, F) of all tokens except prefix tokens; for ``fixed`` see `at`."""
        device = tokens.features.device
        places = tokens.positions  # (R, V) or None
        if places is None:
            places = torch.arange(tokens.layout.positions, device=device)[None]  # (1, T)
        return self.at(places, tokens.layout, fixed)

    def at(self, places: Tensor, layout: Layout, fixed: bool) -> Tensor:
        """Computes the features of positions.

        Args:
            places: (…) int64, positions in the layout, row by row.
            layout: a layout with A axes.
            fixed: whether all samples have this layout. If not, the last axis is scaled to `longest`.

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
        return torch.cat(coded, -1).float()  # computed in float64: float32 is too coarse for π f x of a long sequence


def _unravel(places: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    """Returns the coordinates (…) along each axis of places (…) in a grid."""
    coordinates = []
    for size in reversed(shape):
        coordinates.append(places % size)
        places = places // size
    return coordinates[::-1]
