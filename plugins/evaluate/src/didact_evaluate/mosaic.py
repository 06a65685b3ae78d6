"""Drawing on images by position: hides masked positions, paints colours and pastes patches."""

from __future__ import annotations

import torch
from torch import Tensor

from didact import Layout

GREY = 127
RED = (214, 39, 40)  # for marks that must stand out
SMALLEST = 128  # pixels; an image whose shorter side is below this is enlarged
NARROWEST, WIDEST = 320, 1_300  # pixels; widths of an image with a time axis


def enlarge(picture: Tensor) -> Tensor:
    """Enlarges an image (H, W, 3) uint8 by an integer factor to at least 128 pixels in height and width."""
    factor = -(-SMALLEST // min(picture.shape[:2]))
    return picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def stretch(picture: Tensor) -> Tensor:
    """Resizes an image (H, W, 3) uint8 with a time axis to a height of at least 128 and a width from 320 to 1300."""
    height, width = picture.shape[:2]
    picture = picture.repeat_interleave(-(-SMALLEST // height), 0)
    if width > WIDEST:  # columns are averaged, so that a single bright column stays visible
        columns = picture.permute(0, 2, 1).float()  # (H, W, 3) -> (H, 3, W)
        return torch.nn.functional.adaptive_avg_pool1d(columns, WIDEST).round().to(torch.uint8).permute(0, 2, 1)
    return picture.repeat_interleave(-(-NARROWEST // width), 1)


def cell(layout: Layout, position: int, picture: Tensor) -> tuple[slice, slice]:
    """Returns the rows and columns of ``picture`` (H, W, 3) that a position covers.

    A grid covers the image; a sequence runs from left to right, and each position covers the whole height.
    """
    height, width = picture.shape[:2]
    if len(layout.shape) == 2:
        row, column = divmod(position, layout.shape[1])
        return _share(row, layout.shape[0], height), _share(column, layout.shape[1], width)
    return slice(0, height), _share(position, layout.positions, width)


def hide(picture: Tensor, layout: Layout, hidden: Tensor) -> Tensor:
    """Blends the positions that are true in ``hidden`` (T,) with grey, in a copy of the image (H, W, 3) uint8."""
    drawn = picture.clone()
    for position in hidden.nonzero().flatten().tolist():
        place = cell(layout, position, picture)
        drawn[place] = (picture[place].float() * 0.2 + GREY * 0.8).to(torch.uint8)  # still faintly visible
    return drawn


def paint(layout: Layout, colours: Tensor, canvas: Tensor) -> Tensor:
    """Paints ``colours`` (T, 3) uint8 at their positions in an image of the size of ``canvas``: (H, W, 3) uint8."""
    drawn = torch.full_like(canvas, 255)
    for position, colour in enumerate(colours):
        drawn[cell(layout, position, canvas)] = colour
    return drawn


def mark(picture: Tensor, layout: Layout, position: int) -> Tensor:
    """Draws a red frame around a position in a copy of the image (H, W, 3) uint8."""
    drawn = picture.clone()
    rows, columns = cell(layout, position, picture)
    inner = (slice(rows.start + 2, rows.stop - 2), slice(columns.start + 2, columns.stop - 2))
    kept = drawn[inner].clone()
    drawn[rows, columns] = torch.tensor(RED, dtype=torch.uint8)
    drawn[inner] = kept
    return drawn


def paste(drawn: Tensor, place: tuple[slice, slice], patch: Tensor) -> None:
    """Fills a region of ``drawn`` (H, W, 3) with ``patch`` (h, w, 3), resized by nearest neighbour."""
    height, width = (part.stop - part.start for part in place)
    rows = torch.arange(height) * patch.shape[0] // max(1, height)
    columns = torch.arange(width) * patch.shape[1] // max(1, width)
    drawn[place] = patch[rows][:, columns]


def _share(index: int, of: int, size: int) -> slice:
    return slice(index * size // of, (index + 1) * size // of)
