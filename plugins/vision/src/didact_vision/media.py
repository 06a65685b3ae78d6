"""Image files for ``didact ingest images``."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from didact_stores import Medium, Record
from didact_vision.decoding import decode_pixels

SMALL_PIXELS = 8  # on a side; smaller images are icons or tracking pixels
COARSE_PIXELS = 64  # spacing of the pixels that are compared first; they suffice for nearly all images


class ImageMedium(Medium):
    """Still images. Each file is decoded completely once, so that training does not fail on a broken one.

    Images of a single colour, or with a side below 8 pixels, are kept and reported as suspicious.
    """

    kind = "images"
    unit = "images"
    suffixes = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        return [Record(data=data, length=1.0, name=name, suspect=_suspect(decode_pixels(data, name)))]

    def describe(self, record: Record) -> str:
        with Image.open(io.BytesIO(record.data)) as image:  # reads only the header
            return f"{record.name}  {image.width} × {image.height} {image.format} {image.mode}"


def _suspect(pixels: np.ndarray) -> str:
    """Why an image, (H, W, 3) uint8, is suspicious; empty if it is not."""
    if all(bool((part == pixels[:1, :1]).all()) for part in (pixels[::COARSE_PIXELS, ::COARSE_PIXELS], pixels)):
        return "of one colour"
    return f"below {SMALL_PIXELS} pixels" if min(pixels.shape[:2]) < SMALL_PIXELS else ""
