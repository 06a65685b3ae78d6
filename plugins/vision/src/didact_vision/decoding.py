"""Decoding of image files to upright RGB pixels, from any colour mode and orientation."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from didact import DataError

if TYPE_CHECKING:  # ingestion and inspection need no PyTorch
    from torch import Tensor

ORIENTATION = 0x0112  # the EXIF tag of the camera's orientation


def decode(data: bytes, name: str, *, shortest: int | None = None) -> Tensor:
    """Decodes an image file to a tensor; see `decode_pixels`.

    Returns:
        (3, H, W) uint8, channels last in memory.
    """
    import torch

    return torch.from_numpy(decode_pixels(data, name, shortest=shortest)).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)


def decode_pixels(data: bytes, name: str, *, shortest: int | None = None) -> np.ndarray:
    """Decodes an image file.

    Grey images become RGB, transparent pixels are composited onto white, 16 bits are reduced to 8, and only the first
    frame of an animation is decoded.

    Args:
        data: the file's bytes.
        name: the file's name, for messages.
        shortest: number of pixels that are needed on the shorter side. A JPEG is decoded at a half, a quarter or an
            eighth of its size if enough pixels remain, which takes a fraction of the time. None: full size.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: the bytes are not an image, or the image is broken.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if shortest is not None and image.format == "JPEG":
                scale = min(image.size) // shortest
                if scale > 1:  # Pillow chooses the largest reduction that keeps both sides at least this long
                    image.draft(None, (image.width // scale, image.height // scale))
            return np.array(_rgb(_upright(image)))  # a copy: PyTorch requires writable memory
    except Exception as error:  # foreign code: Pillow's decoders raise OSError, SyntaxError, struct.error and more
        raise DataError(
            f"an image cannot be read: {error or type(error).__name__}",
            where=name,
            hint="replace or remove the file; if other programs can open it, save it as PNG or JPEG",
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    if image.getexif().get(ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers without a defined range")
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips at 255 instead of scaling
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(page, image).convert("RGB")
    return image.convert("RGB")
