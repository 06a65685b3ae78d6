"""Image files, as ``didact ingest`` takes them."""

from __future__ import annotations

import io
from collections.abc import Mapping

from PIL import Image

from didact import DataError, Medium, Record
from didact_vision.decoding import decode


class ImageMedium(Medium):
    """Still images. Each is decoded once, in full, so that no training meets a broken one."""

    kind = "images"
    unit = "images"
    suffixes = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        if options:
            raise DataError(
                f"images have no option {next(iter(options))!r}",
                where=name,
                mend="leave out --option",
            )
        decode(data, name)
        return [Record(data=data, length=1.0, name=name)]

    def describe(self, record: Record) -> str:
        with Image.open(io.BytesIO(record.data)) as image:  # the header alone
            return f"{record.name}  {image.width} × {image.height} {image.format} {image.mode}"
