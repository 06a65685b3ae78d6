"""Drawing on pictures by position: hiding what is masked, filling and painting what was found."""

from __future__ import annotations

import torch
from torch import Tensor

from didact import Layout

GREY = 127
RED = (214, 39, 40)  # marks what somebody must find
SMALLEST = 128  # pixels of a picture's shorter side, below which it is enlarged
NARROWEST, WIDEST = 320, 1_300  # pixels of what runs over time


def enlarge(picture: Tensor) -> Tensor:
    """A picture (H, W, 3) uint8 by a whole factor, so that it is at least 128 pixels high and wide."""
    factor = -(-SMALLEST // min(picture.shape[:2]))
    return picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def stretch(picture: Tensor) -> Tensor:
    """A picture (H, W, 3) uint8 of something over time, at least 128 pixels high and from 320 to 1300 wide."""
    height, width = picture.shape[:2]
    picture = picture.repeat_interleave(-(-SMALLEST // height), 0)
    if width > WIDEST:  # each column the mean of those it stands for: a single bright one does not vanish
        columns = picture.permute(0, 2, 1).float()  # (H, W, 3) -> (H, 3, W)
        return torch.nn.functional.adaptive_avg_pool1d(columns, WIDEST).round().to(torch.uint8).permute(0, 2, 1)
    return picture.repeat_interleave(-(-NARROWEST // width), 1)


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


def paint(layout: Layout, colours: Tensor, canvas: Tensor) -> Tensor:
    """``colours`` (T, 3) uint8 over their positions, as large as ``canvas`` (H, W, 3): (H, W, 3) uint8, no blending."""
    drawn = torch.full_like(canvas, 255)
    for position, colour in enumerate(colours):
        drawn[cell(layout, position, canvas)] = colour
    return drawn


def mark(picture: Tensor, layout: Layout, position: int) -> Tensor:
    """The picture (H, W, 3) uint8 with a red frame around a position."""
    drawn = picture.clone()
    rows, columns = cell(layout, position, picture)
    inner = (slice(rows.start + 2, rows.stop - 2), slice(columns.start + 2, columns.stop - 2))
    kept = drawn[inner].clone()
    drawn[rows, columns] = torch.tensor(RED, dtype=torch.uint8)
    drawn[inner] = kept
    return drawn


def paste(drawn: Tensor, place: tuple[slice, slice], patch: Tensor) -> None:
    """Fills a place of ``drawn`` (H, W, 3) with ``patch`` (h, w, 3), resized by nearest neighbour."""
    height, width = (part.stop - part.start for part in place)
    rows = torch.arange(height) * patch.shape[0] // max(1, height)
    columns = torch.arange(width) * patch.shape[1] // max(1, width)
    drawn[place] = patch[rows][:, columns]


def _share(index: int, of: int, size: int) -> slice:
    return slice(index * size // of, (index + 1) * size // of)
