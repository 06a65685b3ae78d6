"""Images from a store, for training and evaluation."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from didact import Batch, Signal, Source
from didact_stores import Store, StoredSamples
from didact_vision.augmentation import Augmentation, RandomCrop, resize
from didact_vision.decoding import decode

RAW_SIDE = 32  # largest side of `Images.raw_features`, in pixels: that of CIFAR, 3 072 numbers


@attrs.frozen(kw_only=True)
class Images(Source):
    """Images from a store of ``didact ingest images``, with or without labels.

    Training reads augmented views, and evaluations read the central square of each image. Both are normalised RGB.

    Attributes:
        store: the store's name or folder.
        size: side of a view, in pixels; 224 for ImageNet, 32 for CIFAR.
        where: a condition that selects images, such as ``split == train``; None: all.
        augmentation: draws the views for training; None: the central square, as in evaluations.
        views: how many times the augmentation is drawn for each image of a batch; 1 for an augmentation that makes
            several views itself.
        mean: mean of red, green and blue, between 0 and 1, that is subtracted; the default is ImageNet's.
        std: standard deviation of red, green and blue, by which pixels are divided; the default is ImageNet's.
    """

    unit: ClassVar[str] = "images"

    store: str
    size: int = 224
    where: str | None = None
    augmentation: Augmentation | None = RandomCrop()
    views: int = 1
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def validate(self) -> None:
        self.require(self.size >= 1, "size", "at least 1")
        self.require(self.views >= 1, "views", "at least 1")
        self.require(all(0 <= value <= 1 for value in self.mean), "mean", "three numbers between 0 and 1")
        self.require(all(value > 0 for value in self.std), "std", "three numbers above 0")

    def signal(self) -> Signal:
        return Signal(kind="image", axes=(3, self.size, self.size))

    def open(self) -> ImageSamples:
        return ImageSamples(self)

    def read(self, data: bytes, name: str) -> Tensor:
        """The central square of an image file, (3, size, size)."""
        # twice the needed size, which hides most of the loss from decoding a JPEG at reduced size
        image = decode(data, name, shortest=2 * self.size)
        height, width = image.shape[-2:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return self.normalized(resize(image[:, top : top + side, left : left + side], self.size, "bicubic"))

    def whole(self) -> Images:
        """All images, without augmentation."""
        return attrs.evolve(self, where=None, augmentation=None, views=1)

    def normalized(self, pixels: Tensor) -> Tensor:
        """Normalises pixels (3, H, W) from 0 to 255: float32 of the same shape."""
        # (x / 255 - mean) / std as one product and one sum; (3, 1, 1)
        std = torch.tensor(self.std, dtype=torch.float64)
        factor = (1 / (255 * std)).float()[:, None, None]
        shift = (-torch.tensor(self.mean, dtype=torch.float64) / std).float()[:, None, None]
        return torch.addcmul(shift, pixels.contiguous().float(), factor)

    def finish(self, batch: Batch) -> Batch:
        """Runs the augmentation's steps for whole batches on each view, (B, 3, H, W), with pixels from 0 to 1."""
        augmentation = self.augmentation
        if augmentation is None or not augmentation.finishes:
            return batch
        device, drawn = batch.views[0].content.device, len(batch.views) // self.views
        # (3, 1, 1) each; non-blocking copies
        mean, std = (torch.tensor(of)[:, None, None].to(device, non_blocking=True) for of in (self.mean, self.std))
        views = []
        for number, view in enumerate(batch.views):
            assert view.keys is not None  # views for training have keys
            pixels = augmentation.finish((view.content * std + mean).clamp_(0, 1), number % drawn, view.keys)
            views.append(attrs.evolve(view, content=(pixels - mean) / std))
        return attrs.evolve(batch, views=tuple(views))

    def raw_features(self, content: Tensor) -> Tensor:
        """The pixels, averaged to at most 32 × 32.

        Args:
            content: (3, size, size), normalised.

        Returns:
            (F,), F = 3 · min(size, 32)².
        """
        side = min(self.size, RAW_SIDE)
        return torch.nn.functional.adaptive_avg_pool2d(content.float(), side).flatten()  # (3, side, side) -> (F,)

    def image(self, content: Tensor) -> Tensor:
        """An image (3, size, size) without normalisation: (size, size, 3) uint8."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        pixels = content.detach().float().cpu().permute(1, 2, 0) * std + mean  # (3, H, W) -> (H, W, 3)
        return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


class ImageSamples(StoredSamples):
    """The opened samples of `Images`. Files are decoded when they are read, in the loader's workers.

    Args:
        images: the source.
    """

    def __init__(self, images: Images) -> None:
        super().__init__(Store.open(images.store, "images"), images.where)
        self.images = images

    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The views of an image, each (3, H, W) as the augmentation makes it; ``length`` is not used."""
        augmentation, size = self.images.augmentation, self.images.size
        if augmentation is None:
            return (self.content(index),) * self.images.views
        record, shortest = self.record(index), augmentation.shortest(size)
        # twice the needed size, as in `Images.read`
        image = decode(record.data, record.name, shortest=None if shortest is None else 2 * shortest)
        return tuple(
            self.images.normalized(view)
            for _ in range(self.images.views)
            for view in augmentation.views(image, size, generator=generator)
        )

    def content(self, index: int) -> Tensor:
        """The central square of an image, (3, size, size)."""
        record = self.record(index)
        return self.images.read(record.data, record.name)
