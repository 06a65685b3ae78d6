"""Sheets: images with titles and captions, combined so that each file is self-explanatory."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAP = 6  # pixels between images
APART = 18  # pixels between samples
LINE = 17  # pixels; height of a line of text
LETTERS = 12  # font size
GUTTER = 56  # pixels on the left of a timeline, for the names of the strips
WIDTH = 1_400  # pixels; width of a sheet, unless a single image is wider
TICKS = 8  # largest number of ticks on an axis


def caption(text: str, width: int) -> Tensor:
    """Draws a line of text, black on white, shortened after the first word if it is too long: (17, width, 3) uint8."""
    text = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text)
    first, _, rest = text.partition(" ")
    while rest and _length(text) > width:
        rest = rest[1:]  # keeps the end, where names differ
        text = f"{first} ..{rest}"
    return _drawn(width, LINE, [(0, text)])


def titled(picture: Tensor, title: str) -> Tensor:
    """Puts a title above an image (H, W, 3) uint8: (17 + H, W, 3) uint8."""
    return torch.cat([caption(title, picture.shape[1]), picture])


def beside(pictures: Sequence[Tensor], gap: int = GAP) -> Tensor:
    """Places images (H, W, 3) uint8 side by side on white: (H', W', 3) uint8."""
    height = max(picture.shape[0] for picture in pictures)
    return _joined([_filled(picture, 0, height) for picture in pictures], 1, gap)


def stacked(pictures: Sequence[Tensor], gap: int = GAP) -> Tensor:
    """Stacks images (H, W, 3) uint8 vertically on white: (H', W', 3) uint8."""
    width = max(picture.shape[1] for picture in pictures)
    return _joined([_filled(picture, 1, width) for picture in pictures], 0, gap)


def flowed(pictures: Sequence[Tensor], gap: int = GAP, width: int = WIDTH) -> Tensor:
    """Arranges images (H, W, 3) uint8 in lines of at most ``width`` pixels, like words: (H', W', 3) uint8."""
    lines: list[list[Tensor]] = [[]]
    for picture in pictures:
        taken = sum(other.shape[1] + gap for other in lines[-1])
        if lines[-1] and taken + picture.shape[1] > width:
            lines.append([])
        lines[-1].append(picture)
    return stacked([beside(line, gap) for line in lines], gap)


def headed(sheet: Tensor, text: str) -> Tensor:
    """Puts a description, wrapped to the width, above a sheet (H, W, 3) uint8 and adds a margin: (H', W', 3) uint8."""
    width = max(sheet.shape[1], 480)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if _length(longer) <= width else [*lines, word]
    body = stacked([torch.cat([caption(line, width) for line in lines]), sheet], APART // 2)
    return torch.nn.functional.pad(body, (0, 0, GAP, GAP, GAP, GAP), value=255)


def timeline(strips: Sequence[tuple[str, Tensor]], length: float, unit: str) -> Tensor:
    """Stacks images that share a time axis, and draws the axis below them.

    Args:
        strips: the name and image (h, W, 3) uint8 of each strip; all have the same width.
        length: length of the axis.
        unit: unit of the length.

    Returns:
        (H, 56 + W, 3) uint8.
    """
    rows = [torch.cat([_label(name, strip.shape[0]), strip], 1) for name, strip in strips]
    axis = _axis(length, strips[0][1].shape[1])
    return torch.cat([stacked(rows, 3), torch.cat([_label(unit, axis.shape[0]), axis], 1)])


def _axis(length: float, width: int) -> Tensor:
    """Draws an axis from 0 to ``length``: (20, width, 3) uint8."""
    most = max(2, min(TICKS, width // 50))
    power = 10 ** math.floor(math.log10(length / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if length / (power * factor) <= most)
    marks = []
    for number in range(int(length / step + 1e-9) + 1):
        at = round(number * step / length * (width - 1))
        marks.append((at, f"{number * step:g}"))
    axis = _drawn(width, LINE + 3, [(min(at + 3, width - _length(text)), text) for at, text in marks], top=3)
    axis[0] = 0
    for at, _ in marks:
        axis[:6, at] = 0
    return axis


def _label(name: str, height: int) -> Tensor:
    """Draws the name of a strip, vertically centred: (height, 56, 3) uint8."""
    above = max(0, (height - LINE) // 2)
    return _filled(torch.cat([_blank(above, GUTTER), caption(name, GUTTER)]), 0, height)[:height]


def _drawn(width: int, height: int, texts: Sequence[tuple[int, str]], top: int = 0) -> Tensor:
    image = Image.new("RGB", (max(1, width), height), "white")
    draw = ImageDraw.Draw(image)
    for left, text in texts:
        draw.text((left, top), text, fill="black", font=_font())
    return torch.from_numpy(np.array(image))


def _joined(pictures: Sequence[Tensor], axis: int, gap: int) -> Tensor:
    shape = list(pictures[0].shape)
    shape[axis] = gap
    between = torch.full(shape, 255, dtype=torch.uint8)
    parts = [part for picture in pictures for part in (between, picture)]
    return torch.cat(parts[1:], axis)


def _filled(picture: Tensor, axis: int, size: int) -> Tensor:
    """Pads an image (H, W, 3) with white to ``size`` along an axis."""
    shape = list(picture.shape)
    shape[axis] = size - shape[axis]
    return torch.cat([picture, torch.full(shape, 255, dtype=torch.uint8)], axis) if shape[axis] > 0 else picture


def _blank(height: int, width: int) -> Tensor:
    return torch.full((height, width, 3), 255, dtype=torch.uint8)


def _length(text: str) -> int:
    return math.ceil(_font().getlength(text))


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(LETTERS)  # Pillow's default font, which covers little beyond ASCII
