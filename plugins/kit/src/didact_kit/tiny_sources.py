"""The smallest sources: labelled random walks, and noise in the shape of any signal."""

from __future__ import annotations

from typing import ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor

from didact.contracts.data import Samples, Source
from didact.randomness import generator
from didact.serialization import fingerprint, to_data
from didact.tensors import Signal


@attrs.frozen(kw_only=True)
class TinySource(Source):
    """Random walks (F, T), or (F, H, T) with a height. The class of a walk is whether it rises.

    Attributes:
        count: the number of samples.
        channels: F, the rows of a sample.
        length: T of the longest sample.
        height: H of a grid; None for a sequence.
        uneven: whether the other samples are shorter.
        views: the number of views of each sample, which differ by a little noise.
        seed: the seed of the samples; the same seed gives the same samples.
    """

    unit: ClassVar[str] = "values"

    count: int = 16
    channels: int = 3
    length: int = 12
    height: int | None = None
    uneven: bool = False
    views: int = 1
    seed: int = 0

    def validate(self) -> None:
        for field in ("count", "channels", "length", "views"):
            self.require(getattr(self, field) >= 1, field, "at least 1")
        self.require(self.length > 2 or not self.uneven, "length", "above 2 where samples are uneven")
        self.require(self.height is None or self.height >= 1, "height", "at least 1, or None")
        self.require(not (self.uneven and self.height), "uneven", "False with a height: grids are of one size")

    def signal(self) -> Signal:
        length = None if self.uneven else self.length
        return Signal(
            kind="numbers",
            axes=(self.channels, length) if self.height is None else (self.channels, self.height, length),
        )

    def open(self) -> TinySamples:
        return TinySamples(self)

    def raw_features(self, content: Tensor) -> Tensor:
        """The mean (F,) of content (F, T) or (F, H, T)."""
        return content.flatten(1).mean(-1)

    def image(self, content: Tensor) -> Tensor:
        """Content (F, T) or (F, H, T) as grey bars, (H, W, 3) uint8."""
        rows = content.flatten(0, -2)  # (F, T) or (F·H, T)
        grey = (rows - rows.min()) / (rows.max() - rows.min()).clamp(min=1e-6) * 255
        return grey.to(torch.uint8)[..., None].expand(-1, -1, 3).contiguous()


class TinySamples(Samples):
    """The samples, computed when they are read."""

    def __init__(self, source: TinySource) -> None:
        self.source = source
        sizes = [source.length - (index % 3 if source.uneven else 0) for index in range(source.count)]
        self.lengths = np.array(sizes, dtype=np.float64)
        rising = [float(self.content(index).flatten()[sizes[index] - 1]) > 0 for index in range(source.count)]
        self.labels = np.array(rising, dtype=np.int64)
        self.classes = ("falling", "rising")
        self.fingerprint = fingerprint(to_data(source))

    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Views (F, T) or (F, H, T) with a little noise."""
        content = self.content(index)
        noise = [torch.randn(content.shape, generator=generator) for _ in range(self.source.views)]
        return tuple(content + 0.01 * added for added in noise)

    def content(self, index: int) -> Tensor:
        """The walk (F, T) or (F, H, T)."""
        height = () if self.source.height is None else (self.source.height,)
        shape = (self.source.channels, *height, int(self.lengths[index]))
        return torch.randn(shape, generator=generator(self.source.seed, "walk", index)).cumsum(-1)

    def name(self, index: int) -> str:
        return f"walk {index}"


@attrs.frozen(kw_only=True)
class NoiseSource(Source):
    """Noise in the shape of any signal, to check an encoder without the plugin of its source.

    Attributes:
        kind: the kind of the signal, such as ``image``.
        axes: the axes of the largest sample.
        uneven: whether other samples are shorter along the last axis.
        rate_hz: the rate of the signal, in Hz.
        vocabulary: the number of ids; None for numbers.
        count: the number of samples.
    """

    unit: ClassVar[str] = "samples"

    kind: str = "numbers"
    axes: tuple[int, ...] = (3, 12)
    uneven: bool = False
    rate_hz: int | None = None
    vocabulary: int | None = None
    count: int = 8

    def validate(self) -> None:
        self.require(len(self.axes) >= 1 and min(self.axes) >= 1, "axes", "one size or more, each at least 1")
        self.require(self.count >= 1, "count", "at least 1")
        self.require(self.vocabulary is None or self.vocabulary >= 2, "vocabulary", "at least 2, or None")

    def signal(self) -> Signal:
        axes = (*self.axes[:-1], None if self.uneven else self.axes[-1])
        return Signal(kind=self.kind, axes=axes, rate_hz=self.rate_hz, vocabulary=self.vocabulary)

    def open(self) -> NoiseSamples:
        return NoiseSamples(self)


class NoiseSamples(Samples):
    """The samples, computed when they are read."""

    labels = None
    classes = ()

    def __init__(self, source: NoiseSource) -> None:
        self.source = source
        self.lengths = np.ones(source.count)
        self.fingerprint = fingerprint(to_data(source))

    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Returns the content (*axes) itself."""
        return (self.content(index),)

    def content(self, index: int) -> Tensor:
        """Returns normal noise (*axes), or ids; two of three uneven samples lack up to 40 % of the last axis."""
        drawn = generator(0, "noise", index)
        *leading, last = self.source.axes
        last = max(1, round(last * (1 - index % 3 / 5))) if self.source.uneven else last
        if self.source.vocabulary is not None:
            return torch.randint(self.source.vocabulary, (*leading, last), generator=drawn)
        return torch.randn(*leading, last, generator=drawn)

    def name(self, index: int) -> str:
        return f"noise {index}"
