"""Learned positions of a grid of patches, and other grids."""

from __future__ import annotations

import torch
from torch import Tensor

from didact import Layout


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
