"""Images with captions, as two views with a signal each (CLIP)."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from didact import Batch, DataError, Samples, Signal, Source, SpecError
from didact.serialization import fingerprint
from didact_vision import Images

# the ids of RoBERTa's special tokens, as encoders of text expect them; bytes follow, and <mask> is last
START, END, FIRST_BYTE = 0, 2, 4
VOCABULARY = FIRST_BYTE + 256 + 1


@attrs.frozen(kw_only=True)
class CaptionedImages(Source):
    """Images from a store, each with a caption that is made from the fields of its record, as bytes.

    View 0 is the image, view 1 the caption, (T,) int64: ``<s>``, the bytes in UTF-8, ``</s>``. The experiment has a
    tuple of two encoders, such as `Patches` and `TokenEmbeddings`, and of two backbones. Evaluations see the images.

    Attributes:
        images: the images, with an augmentation that makes one view.
        captions: the captions, of which one is drawn for each view; a field's name in braces stands for its value.
            ``("{caption}",)`` takes captions of the store, ``("a photo of a {label}",)`` makes them from class names.
        max_tokens: longer captions are cut to this length, with ``<s>`` and ``</s>``; at most the positions of the
            encoder. CLIP has 76.
    """

    unit: ClassVar[str] = "images"

    images: Images
    captions: tuple[str, ...] = ("a photo of a {label}",)
    max_tokens: int = 76

    def validate(self) -> None:
        self.require(bool(self.captions), "captions", "one or more")
        self.require(self.max_tokens >= 3, "max_tokens", "at least 3, a byte between <s> and </s>")
        if self.images.views != 1:
            raise SpecError(
                f"an image and its caption are one view each, and images.views is {self.images.views}",
                where="images.views",
                hint="use images.views=1",
            )

    def signal(self) -> Signal:
        return self.images.signal()

    def signals(self) -> tuple[Signal, ...]:
        """The images' signal and that of their captions."""
        caption = Signal(kind="tokens", axes=(None,), vocabulary=VOCABULARY, coding="bytes in UTF-8")
        return self.images.signal(), caption

    def open(self) -> CaptionedSamples:
        return CaptionedSamples(self)

    def read(self, data: bytes, name: str) -> Tensor:
        """The central square of an image file, (3, size, size)."""
        return self.images.read(data, name)

    def whole(self) -> CaptionedImages:
        """All images, without augmentation."""
        return attrs.evolve(self, images=self.images.whole())

    def finish(self, batch: Batch) -> Batch:
        """Runs the augmentation's steps for whole batches on the images, (B, 3, H, W)."""
        image, *captions = batch.views
        finished = self.images.finish(attrs.evolve(batch, views=(image,)))
        return attrs.evolve(batch, views=(*finished.views, *captions))

    def raw_features(self, content: Tensor) -> Tensor:
        """The pixels of an image (3, size, size), as `Images.raw_features`: (F,)."""
        return self.images.raw_features(content)

    def image(self, content: Tensor) -> Tensor:
        """An image (3, size, size) without normalisation: (size, size, 3) uint8."""
        return self.images.image(content)

    def tokens(self, text: str) -> Tensor:
        """The ids of a caption, (T,) int64."""
        held = text.encode()[: self.max_tokens - 2]
        return torch.tensor([START, *(FIRST_BYTE + byte for byte in held), END])


class CaptionedSamples(Samples):
    """The opened samples of `CaptionedImages`.

    Args:
        source: the source.
    """

    def __init__(self, source: CaptionedImages) -> None:
        self.source = source
        self.images = source.images.open()
        self.lengths, self.labels, self.classes = self.images.lengths, self.images.labels, self.images.classes
        self.fingerprint = fingerprint([self.images.fingerprint, list(source.captions), source.max_tokens])

    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The view of an image, (3, H, W), and a caption (T,)."""
        views = self.images.views(index, length=length, generator=generator)
        if len(views) != 1:
            raise SpecError(
                f"an image and its caption are one view each, and the augmentation makes {len(views)} of the image",
                where="experiment.source.images.augmentation",
                hint="use an augmentation that makes one view, such as didact_vision.RandomCrop()",
            )
        return views[0], self.source.tokens(self.caption(index, generator=generator))

    def caption(self, index: int, *, generator: torch.Generator) -> str:
        """Draws a caption of an image.

        Raises:
            DataError: the record lacks a field of the caption.
        """
        captions, record = self.source.captions, self.images.record(index)
        drawn = captions[int(torch.randint(len(captions), (), generator=generator))]
        try:
            return drawn.format_map(dict(record.fields))
        except KeyError as error:
            raise DataError(
                f"the caption {drawn!r} needs the field {error}, which the record does not have",
                where=record.name,
                hint=f"its fields are {', '.join(map(repr, record.fields)) or 'none'}; ingest with labels or captions",
            ) from None

    def content(self, index: int) -> Tensor:
        """The central square of an image, (3, size, size)."""
        return self.images.content(index)

    def name(self, index: int) -> str:
        return self.images.name(index)
