"""Absolute positions that are not learned."""

from __future__ import annotations

import torch
from torch import Tensor

from didact import Layout, SpecError


def sincos_positions(layout: Layout, width: int) -> Tensor:
    """Fixed sines and cosines of each position's coordinates in a layout, in MAE's order of channels.

    In a grid the first half of the channels encodes the column, the second the row. Each half holds all sines, then
    all cosines, of the frequencies 10000^(-i / n), with i from 0 to n - 1 and n sines per axis. Sequences follow
    Vaswani et al. 2017, section 3.5; grids follow MAE (He et al. 2022).

    Args:
        layout: the layout, with A axes.
        width: D, a multiple of 2·A.

    Returns:
        (T, D) float32.

    Raises:
        SpecError: the width is not a multiple of 2·A.
    """
    waves, left = divmod(width, 2 * len(layout.shape))
    if left:
        raise SpecError(
            f"sines and cosines along {len(layout.shape)} axes need a width that is a multiple of "
            f"{2 * len(layout.shape)}, got {width}",
            where="width",
            hint="choose another width, or other positions",
        )
    frequencies = 10_000.0 ** (-torch.arange(waves, dtype=torch.float64) / waves)
    places = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in layout.shape), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in reversed(places)]  # A of (T, waves)
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()
