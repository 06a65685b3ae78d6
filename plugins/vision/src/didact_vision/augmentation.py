"""What happens to an image before training sees it. All chance comes from the sample's own generator."""

from __future__ import annotations

import math
from typing import Literal

import attrs
import torch
from torch import Tensor

from didact import Augmentation

LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601, as torchvision and Pillow weigh red, green and blue


@attrs.frozen(kw_only=True)
class RandomCrop(Augmentation):
    """A part of random area and aspect, resized, and mirrored in half of all cases: data2vec 2.0's and MAE's views.

    Szegedy et al. 2015, Going Deeper with Convolutions, §6; the crop is drawn as torchvision's `RandomResizedCrop`
    draws it.

    Attributes:
        scale: smallest and largest share of the image's area; MAE and data2vec 2.0 (0.2, 1), supervised (0.08, 1).
        aspect: smallest and largest ratio of width to height.
        flip: probability of being mirrored left to right; 0 for what reads only one way, such as letters.
        interpolation: by which the part is resized; MAE and data2vec bicubic.
    """

    scale: tuple[float, float] = (0.2, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"

    def validate(self) -> None:
        self.require(0 < self.scale[0] <= self.scale[1] <= 1, "scale", "two rising numbers above 0 and at most 1")
        self.require(0 < self.aspect[0] <= self.aspect[1], "aspect", "two rising numbers above 0")
        self.require(0 <= self.flip <= 1, "flip", "between 0 and 1")

    def shortest(self, size: int) -> int:
        # the shorter side of the smallest crop, as a share of the image's shorter side, is at least this
        share = math.sqrt(self.scale[0] * min(self.aspect[0], 1 / self.aspect[1]))
        return math.ceil(size / share)

    def views(self, sample: Tensor, size: int, *, generator: torch.Generator) -> tuple[Tensor, ...]:
        """One view, (3, size, size) uint8, of an image (3, H, W) uint8."""
        return (self.view(sample, size, generator=generator),)

    def view(self, image: Tensor, size: int, *, generator: torch.Generator) -> Tensor:
        """A part of an image (3, H, W) uint8 as (3, size, size) uint8, mirrored or not."""
        top, left, height, width = self.box(image.shape[-2], image.shape[-1], generator=generator)
        part = resize(image[:, top : top + height, left : left + width], size, self.interpolation)
        return part.flip(-1) if float(torch.rand((), generator=generator)) < self.flip else part

    def box(self, height: int, width: int, *, generator: torch.Generator) -> tuple[int, int, int, int]:
        """Where a crop lies in an image of ``height`` × ``width`` pixels: its top, left, height and width."""
        logs = math.log(self.aspect[0]), math.log(self.aspect[1])
        for area, aspect, y, x in torch.rand(10, 4, generator=generator, dtype=torch.float64).tolist():
            pixels = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            ratio = math.exp(logs[0] + aspect * (logs[1] - logs[0]))
            h, w = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
            if 0 < h <= height and 0 < w <= width:
                return int(y * (height - h + 1)), int(x * (width - w + 1)), h, w
        # too elongated for any of ten: the largest part in the middle whose aspect is allowed
        w = max(1, min(width, round(height * self.aspect[1])))
        h = max(1, min(height, round(width / self.aspect[0])))
        return (height - h) // 2, (width - w) // 2, h, w


@attrs.frozen(kw_only=True)
class BEiTAugmentation(RandomCrop):
    """BEiT's and data2vec 1's views: brightness, contrast and saturation of the whole image, then a crop of it.

    Attributes:
        scale: smallest and largest share of the image's area; BEiT and data2vec (0.08, 1).
        jitter: by how much brightness, contrast and saturation are each scaled, in random order: a factor from
            1 - jitter to 1 + jitter. BEiT and data2vec 0.4.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    jitter: float = 0.4

    def validate(self) -> None:
        super().validate()
        self.require(0 <= self.jitter <= 1, "jitter", "between 0 and 1")

    def view(self, image: Tensor, size: int, *, generator: torch.Generator) -> Tensor:
        """A part of an image (3, H, W) uint8 with other colours, as (3, size, size) uint8."""
        changes = (brighten, contrast, saturate)
        factors = (1 + self.jitter * (2 * torch.rand(3, generator=generator) - 1)).tolist()
        for index in torch.randperm(3, generator=generator).tolist():
            image = changes[index](image, factors[index])
        return super().view(image, size, generator=generator)


def resize(image: Tensor, size: int, interpolation: Literal["bicubic", "bilinear"]) -> Tensor:
    """An image (3, H, W) uint8 at (3, size, size), with antialiasing."""
    if image.shape[-2:] == (size, size):
        return image
    # PyTorch's path for uint8 with channels last is several times faster than Pillow's
    resized: Tensor = torch.nn.functional.interpolate(image[None], (size, size), mode=interpolation, antialias=True)
    return resized[0]


def brighten(image: Tensor, factor: float) -> Tensor:
    """An image (3, H, W) uint8, ``factor`` times as bright."""
    return _blend(image.float(), 0.0, factor)


def contrast(image: Tensor, factor: float) -> Tensor:
    """An image (3, H, W) uint8 with ``factor`` times the difference from its mean grey."""
    pixels = image.float()
    return _blend(pixels, _grey(pixels).mean(), factor)


def saturate(image: Tensor, factor: float) -> Tensor:
    """An image (3, H, W) uint8 with ``factor`` times the difference from each pixel's own grey."""
    pixels = image.float()
    return _blend(pixels, _grey(pixels), factor)


def _grey(pixels: Tensor) -> Tensor:
    red, green, blue = pixels.unbind(0)  # (3, H, W) -> (H, W) each
    return (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]).floor_()


def _blend(pixels: Tensor, other: Tensor | float, factor: float) -> Tensor:
    return (pixels * factor + other * (1 - factor)).clamp_(0, 255).to(torch.uint8)
