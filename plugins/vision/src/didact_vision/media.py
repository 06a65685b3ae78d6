"""Image files, as ``didact ingest`` takes them."""

from __future__ import annotations

import io
from collections.abc import Mapping

from PIL import Image
from torch import Tensor

from didact import Medium, Record
from didact_vision.decoding import decode

SMALL_PIXELS = 8  # of a side: an icon, or the dot that counts a page's readers
COARSE_PIXELS = 64  # between the pixels that are compared first: nearly no image needs more than those


class ImageMedium(Medium):
    """Still images. Each is decoded once, in full, so that no training meets a broken one.

    Those of one colour, and those with a side below 8 pixels, are suspect: they are kept and told of.
    """

    kind = "images"
    unit = "images"
    suffixes = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        return [Record(data=data, length=1.0, name=name, suspect=_suspect(decode(data, name)))]

    def describe(self, record: Record) -> str:
        with Image.open(io.BytesIO(record.data)) as image:  # the header alone
            return f"{record.name}  {image.width} × {image.height} {image.format} {image.mode}"


def _suspect(pixels: Tensor) -> str:
    """What makes an image doubtful, from its pixels (3, H, W) uint8."""
    if all(bool((part == pixels[:, :1, :1]).all()) for part in (pixels[:, ::COARSE_PIXELS, ::COARSE_PIXELS], pixels)):
        return "of one colour"
    return f"below {SMALL_PIXELS} pixels" if min(pixels.shape[1:]) < SMALL_PIXELS else ""
