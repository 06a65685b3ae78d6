"""Sheets: pictures with words beside them, put together so that each file explains itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAP = 6  # pixels between pictures
APART = 18  # between samples
LINE = 17  # height of a line of words
LETTERS = 12  # their size
GUTTER = 56  # pixels on the left of a timeline, for what each strip is called
WIDTH = 1_400  # of a sheet; a single picture that is wider makes it wider
TICKS = 8  # on an axis, at most


def caption(text: str, width: int) -> Tensor:
    """A line of words, black on white, cut behind the first where it is too long: (17, width, 3) uint8."""
    text = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text)
    first, _, rest = text.partition(" ")
    while rest and _length(text) > width:
        rest = rest[1:]  # names end in what tells them apart
        text = f"{first} ..{rest}"
    return _drawn(width, LINE, [(0, text)])


def titled(picture: Tensor, title: str) -> Tensor:
    """A picture (H, W, 3) uint8 under its title: (17 + H, W, 3) uint8."""
    return torch.cat([caption(title, picture.shape[1]), picture])


def beside(pictures: Sequence[Tensor], gap: int = GAP) -> Tensor:
    """Pictures (H, W, 3) uint8 beside each other, on white: (H', W', 3) uint8."""
    height = max(picture.shape[0] for picture in pictures)
    return _joined([_filled(picture, 0, height) for picture in pictures], 1, gap)


def stacked(pictures: Sequence[Tensor], gap: int = GAP) -> Tensor:
    """Pictures (H, W, 3) uint8 under each other, on white: (H', W', 3) uint8."""
    width = max(picture.shape[1] for picture in pictures)
    return _joined([_filled(picture, 1, width) for picture in pictures], 0, gap)


def flowed(pictures: Sequence[Tensor], gap: int = GAP, width: int = WIDTH) -> Tensor:
    """Pictures (H, W, 3) uint8 as words in a paragraph: in lines of at most ``width``. (H', W', 3) uint8."""
    lines: list[list[Tensor]] = [[]]
    for picture in pictures:
        taken = sum(other.shape[1] + gap for other in lines[-1])
        if lines[-1] and taken + picture.shape[1] > width:
            lines.append([])
        lines[-1].append(picture)
    return stacked([beside(line, gap) for line in lines], gap)


def headed(sheet: Tensor, text: str) -> Tensor:
    """A sheet (H, W, 3) uint8 with a margin, under what it shows, in as many lines as that takes: (H', W', 3) uint8."""
    width = max(sheet.shape[1], 480)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if _length(longer) <= width else [*lines, word]
    body = stacked([torch.cat([caption(line, width) for line in lines]), sheet], APART // 2)
    return torch.nn.functional.pad(body, (0, 0, GAP, GAP, GAP, GAP), value=255)


def timeline(strips: Sequence[tuple[str, Tensor]], length: float, unit: str) -> Tensor:
    """Pictures of one thing over time, under each other, over an axis.

    Args:
        strips: what each is called, and (h, W, 3) uint8; all equally wide.
        length: of the thing.
        unit: of the length.

    Returns:
        (H, 56 + W, 3) uint8.
    """
    rows = [torch.cat([_label(name, strip.shape[0]), strip], 1) for name, strip in strips]
    axis = _axis(length, strips[0][1].shape[1])
    return torch.cat([stacked(rows, 3), torch.cat([_label(unit, axis.shape[0]), axis], 1)])


def _axis(length: float, width: int) -> Tensor:
    """An axis from 0 to ``length``: (20, width, 3) uint8."""
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
    """A name on the left of a strip, in its middle: (height, 56, 3) uint8."""
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
    """The picture (H, W, 3), white up to ``size`` along an axis."""
    shape = list(picture.shape)
    shape[axis] = size - shape[axis]
    return torch.cat([picture, torch.full(shape, 255, dtype=torch.uint8)], axis) if shape[axis] > 0 else picture


def _blank(height: int, width: int) -> Tensor:
    return torch.full((height, width, 3), 255, dtype=torch.uint8)


def _length(text: str) -> int:
    return math.ceil(_font().getlength(text))


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(LETTERS)  # Pillow's own, which has ASCII and little more
