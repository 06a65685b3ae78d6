"""From an image file's bytes to upright RGB pixels, whatever the file's own colour mode and orientation."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from didact import DataError

ORIENTATION = 0x0112  # the EXIF tag by which a camera says how it was held


def decode(data: bytes, name: str, *, shortest: int | None = None) -> Tensor:
    """All pixels of an image file.

    Grey becomes RGB; what is transparent stands on white, as on a page; 16 bits are cut to 8; of an animation it is
    the first frame.

    Args:
        data: the file's bytes.
        name: for the message.
        shortest: pixels that suffice on the shorter side. A JPEG is decoded at a half, a quarter or an eighth of its
            size while it keeps that many, which takes a fraction of the time. None: full size.

    Returns:
        (3, H, W) uint8, channels last in memory.

    Raises:
        DataError: the bytes are no image, or broken.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if shortest is not None and image.format == "JPEG":
                scale = min(image.size) // shortest
                if scale > 1:  # Pillow takes the largest reduction that keeps both sides at least so long
                    image.draft(None, (image.width // scale, image.height // scale))
            pixels = np.array(_rgb(_upright(image)))  # (H, W, 3); a copy, for PyTorch wants to be able to write
    except Exception as error:  # foreign code: Pillow's decoders raise OSError, SyntaxError, struct.error and more
        raise DataError(
            f"an image cannot be read: {error or type(error).__name__}",
            where=name,
            mend="replace or remove the file; if other programs open it, save it anew as PNG or JPEG",
        ) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)


def _upright(image: Image.Image) -> Image.Image:
    if image.getexif().get(ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, which do not say what is white")
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips at 255 instead of scaling
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(page, image).convert("RGB")
    return image.convert("RGB")
