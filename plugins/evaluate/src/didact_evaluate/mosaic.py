"""Drawing on pictures by position: hiding what is masked, and putting together what was found."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from didact import Layout

GREY = 127
GAP = 4  # pixels between pictures
SMALLEST = 96  # pixels of a picture's height, below which it is enlarged


def enlarge(picture: Tensor) -> Tensor:
    """A picture (H, W, 3) uint8 by a whole factor, so that it is at least 96 pixels high."""
    factor = -(-SMALLEST // picture.shape[0])
    return picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def cell(layout: Layout, position: int, picture: Tensor) -> tuple[slice, slice]:
    """The rows and columns of ``picture`` (H, W, 3) that a position stands for.

    A grid covers the picture; a sequence runs from left to right, each position over the whole height.
    """
    height, width = picture.shape[:2]
    if len(layout.shape) == 2:
        row, column = divmod(position, layout.shape[1])
        return _share(row, layout.shape[0], height), _share(column, layout.shape[1], width)
    return slice(0, height), _share(position, layout.positions, width)


def hide(picture: Tensor, layout: Layout, hidden: Tensor) -> Tensor:
    """The picture (H, W, 3) uint8 with the positions that are true in ``hidden`` (T,) nearly covered in grey."""
    drawn = picture.clone()
    for position in hidden.nonzero().flatten().tolist():
        place = cell(layout, position, picture)
        drawn[place] = (picture[place].float() * 0.2 + GREY * 0.8).to(torch.uint8)  # the rest shows what was there
    return drawn


def paste(drawn: Tensor, place: tuple[slice, slice], patch: Tensor) -> None:
    """Fills a place of ``drawn`` (H, W, 3) with ``patch`` (h, w, 3), resized by nearest neighbour."""
    height, width = (part.stop - part.start for part in place)
    rows = torch.arange(height) * patch.shape[0] // max(1, height)
    columns = torch.arange(width) * patch.shape[1] // max(1, width)
    drawn[place] = patch[rows][:, columns]


def arrange(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Pictures (H, W, 3) uint8 in rows, on white: (H', W', 3) uint8."""
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    widths = [sum(picture.shape[1] for picture in row) + GAP * (len(row) - 1) for row in rows]
    sheet = torch.full((sum(heights) + GAP * (len(rows) - 1), max(widths), 3), 255, dtype=torch.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for picture in row:
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            left += picture.shape[1] + GAP
        top += height + GAP
    return sheet


def _share(index: int, of: int, size: int) -> slice:
    return slice(index * size // of, (index + 1) * size // of)
