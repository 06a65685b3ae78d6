"""Position codes of a grid of patches."""

from __future__ import annotations

import torch
from torch import Tensor

from didact import Layout


def sincos_positions(layout: Layout, width: int) -> Tensor:
    """Fixed sines and cosines of each patch's column and row, in MAE's order of channels.

    The first half of the channels encodes the column, the second the row; each half holds all sines, then all
    cosines, of frequencies 10000^(-i / (D/4)).

    Args:
        layout: a grid (H, W).
        width: D, a multiple of 4.

    Returns:
        (T, D) float32, T = H·W.
    """
    height, columns = layout.shape
    frequencies = 10_000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))  # (D/4,)
    row, column = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(columns, dtype=torch.float64), indexing="ij"
    )
    angles = [place.flatten()[:, None] * frequencies for place in (column, row)]  # two of (T, D/4)
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()


def resize_positions(positions: Tensor, old: Layout, new: Layout) -> Tensor:
    """Learned positions of one grid for another, bicubic; for views of another size than the encoder was built for.

    Args:
        positions: (T, D) of ``old``, a grid.
        old: the grid of ``positions``.
        new: the grid that is asked for.

    Returns:
        (T', D) of ``new``.
    """
    grid = positions.T.reshape(1, -1, *old.shape)  # (T, D) -> (1, D, H, W)
    resized = torch.nn.functional.interpolate(grid.float(), new.shape, mode="bicubic", antialias=True)
    return resized.flatten(2)[0].T  # (1, D, H', W') -> (T', D)
