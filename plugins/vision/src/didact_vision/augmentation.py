"""Augmentations of images. All random numbers come from the sample's generator."""

from __future__ import annotations

import abc
import math
from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from didact import Spec

LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601, as torchvision and Pillow weigh red, green and blue


@attrs.frozen(kw_only=True)
class Augmentation(Spec, abc.ABC):
    """Makes the views of an image for training. It is a field of `Images`, so a method can define its own views.

    An augmentation has two halves, like an encoder. `views` runs in the loader's workers, sample by sample. `finish`
    runs on the device, on a view of a whole batch.

    Class attributes:
        finishes: whether `finish` does anything.
    """

    finishes: ClassVar[bool] = False

    @abc.abstractmethod
    def views(self, sample: Tensor, size: int, *, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The views of a sample, the same number for each sample.

        Args:
            sample: the whole image, (3, H, W) uint8, of any size.
            size: side of a view in pixels, for augmentations that do not set their own size.
            generator: the sample's generator, the only source of randomness.

        Returns:
            one or more views, each (3, H, W); they may differ in size from each other, but not from sample to sample.
        """

    def finish(self, content: Tensor, view: int, keys: Tensor) -> Tensor:
        """Completes one view of a batch; see `Source.finish`.

        Args:
            content: the view, (B, 3, H, W) float32 from 0 to 1, on the device.
            view: index of the view among those of `views`.
            keys: the samples' keys, (B,) int64 on the CPU, the only source of randomness.

        Returns:
            The content, of the same shape and in the same range.
        """
        return content

    def shortest(self, size: int) -> int | None:
        """The length of a sample's shorter side that suffices for sharp views; sources may decode at this size.

        None (the default) means that the source decodes at full size.

        Args:
            size: as for `views`.
        """
        return None


@attrs.frozen(kw_only=True)
class RandomCrop(Augmentation):
    """A crop of random area and aspect, resized, and flipped with probability 1/2: the views of data2vec 2.0 and MAE.

    Szegedy et al. 2015, Going Deeper with Convolutions, §6. The crop is drawn as by torchvision's `RandomResizedCrop`.

    Attributes:
        scale: smallest and largest share of the image's area; (0.2, 1) in MAE and data2vec 2.0, (0.08, 1) in supervised
            training.
        aspect: smallest and largest ratio of width to height.
        flip: probability of a horizontal flip; 0 for images with a direction, such as letters.
        interpolation: method of resizing the crop; bicubic in MAE and data2vec.
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
        # lower bound on the shorter side of the smallest crop, as a share of the image's shorter side
        share = math.sqrt(self.scale[0] * min(self.aspect[0], 1 / self.aspect[1]))
        return math.ceil(size / share)

    def views(self, sample: Tensor, size: int, *, generator: torch.Generator) -> tuple[Tensor, ...]:
        """One view, (3, size, size) uint8, of an image (3, H, W) uint8."""
        return (self.view(sample, size, generator=generator),)

    def view(self, image: Tensor, size: int, *, generator: torch.Generator) -> Tensor:
        """A crop of an image (3, H, W) uint8, resized to (3, size, size) uint8, and possibly flipped."""
        top, left, height, width = self.box(image.shape[-2], image.shape[-1], generator=generator)
        part = resize(image[:, top : top + height, left : left + width], size, self.interpolation)
        return part.flip(-1) if float(torch.rand((), generator=generator)) < self.flip else part

    def box(self, height: int, width: int, *, generator: torch.Generator) -> tuple[int, int, int, int]:
        """Draws a crop of an image of ``height`` × ``width`` pixels: its top, left, height and width."""
        logs = math.log(self.aspect[0]), math.log(self.aspect[1])
        for area, aspect, y, x in torch.rand(10, 4, generator=generator, dtype=torch.float64).tolist():
            pixels = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            ratio = math.exp(logs[0] + aspect * (logs[1] - logs[0]))
            h, w = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
            if 0 < h <= height and 0 < w <= width:
                return int(y * (height - h + 1)), int(x * (width - w + 1)), h, w
        # the image is too elongated for all ten: the largest crop at its centre with an allowed aspect
        w = max(1, min(width, round(height * self.aspect[1])))
        h = max(1, min(height, round(width / self.aspect[0])))
        return (height - h) // 2, (width - w) // 2, h, w


@attrs.frozen(kw_only=True)
class BEiTAugmentation(RandomCrop):
    """The views of BEiT and data2vec 1: colour jitter of the whole image, then a random crop.

    Attributes:
        scale: smallest and largest share of the image's area; (0.08, 1) in BEiT and data2vec.
        jitter: strength of the colour jitter: brightness, contrast and saturation are scaled, in random order, by a
            factor between 1 - jitter and 1 + jitter. 0.4 in BEiT and data2vec.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    jitter: float = 0.4

    def validate(self) -> None:
        super().validate()
        self.require(0 <= self.jitter <= 1, "jitter", "between 0 and 1")

    def view(self, image: Tensor, size: int, *, generator: torch.Generator) -> Tensor:
        """A crop of an image (3, H, W) uint8 after colour jitter, resized to (3, size, size) uint8."""
        changes = (brighten, contrast, saturate)
        factors = (1 + self.jitter * (2 * torch.rand(3, generator=generator) - 1)).tolist()
        for index in torch.randperm(3, generator=generator).tolist():
            image = changes[index](image, factors[index])
        return super().view(image, size, generator=generator)


def resize(image: Tensor, size: int, interpolation: Literal["bicubic", "bilinear"]) -> Tensor:
    """Resizes an image (3, H, W) uint8 to (3, size, size), with antialiasing."""
    if image.shape[-2:] == (size, size):
        return image
    # PyTorch's path for uint8 with channels last is several times faster than Pillow's
    resized: Tensor = torch.nn.functional.interpolate(image[None], (size, size), mode=interpolation, antialias=True)
    return resized[0]


def brighten(image: Tensor, factor: float) -> Tensor:
    """Scales the brightness of an image (3, H, W) uint8 by ``factor``."""
    return _blend(image.float(), 0.0, factor)


def contrast(image: Tensor, factor: float) -> Tensor:
    """Scales the difference of an image (3, H, W) uint8 from its mean grey by ``factor``."""
    pixels = image.float()
    return _blend(pixels, _grey(pixels).mean(), factor)


def saturate(image: Tensor, factor: float) -> Tensor:
    """Scales the difference of an image (3, H, W) uint8 from the grey of each pixel by ``factor``."""
    pixels = image.float()
    return _blend(pixels, _grey(pixels), factor)


def _grey(pixels: Tensor) -> Tensor:
    red, green, blue = pixels.unbind(0)  # (3, H, W) -> (H, W) each
    return (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]).floor_()


def _blend(pixels: Tensor, other: Tensor | float, factor: float) -> Tensor:
    return (pixels * factor + other * (1 - factor)).clamp_(0, 255).to(torch.uint8)
