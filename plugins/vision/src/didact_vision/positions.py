"""Interpolation of learned positions to other grids."""

from __future__ import annotations

import torch
from torch import Tensor

from didact import Layout


def resize_positions(positions: Tensor, old: Layout, new: Layout) -> Tensor:
    """Resizes learned positions by bicubic interpolation, for views whose size differs from that at build.

    Args:
        positions: (T, D), on the grid ``old``.
        old: the grid of ``positions``.
        new: the requested grid.

    Returns:
        (T', D), on the grid ``new``.
    """
    grid = positions.T.reshape(1, -1, *old.shape)  # (T, D) -> (1, D, H, W)
    resized = torch.nn.functional.interpolate(grid.float(), new.shape, mode="bicubic", antialias=True)
    return resized.flatten(2)[0].T  # (1, D, H', W') -> (T', D)
