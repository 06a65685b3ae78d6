"""Multichannel sensor series for didact: generated series and an encoder for them. A whole modality in one file."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from didact import (
    BatchMask,
    FeatureEncoder,
    FeatureEncoderModule,
    Layout,
    Samples,
    Signal,
    Source,
    SpecError,
    Tokens,
    View,
    hookimpl,
)
from didact.placing import corrupt, drop, repeat
from didact.randomness import generator
from didact.serialization import fingerprint, to_data


@attrs.frozen(kw_only=True)
class SensorSeries(Source):
    """Sensor series of machines: an oscillation of random speed, phase and amplitude, in stronger noise.

    The class is each sensor's lag behind the previous sensor. No single sensor or single moment shows it.

    Attributes:
        count: number of series.
        channels: C, the sensors of a machine.
        length: S, values of each sensor.
        noise: standard deviation of the sensors' noise.
        seed: seed of the generated series; another seed gives other machines of the same classes.
    """

    unit: ClassVar[str] = "series"
    lags: ClassVar[tuple[float, ...]] = (-1 / 3, -1 / 6, 1 / 6, 1 / 3)  # in periods; one class each

    count: int = 2_000
    channels: int = 4
    length: int = 128
    noise: float = 1.0
    seed: int = 0

    def validate(self) -> None:
        for field in ("count", "channels", "length"):
            self.require(getattr(self, field) >= 1, field, "at least 1")

    def signal(self) -> Signal:
        return Signal(kind="series", axes=(self.channels, self.length))

    def open(self) -> SensorSamples:
        return SensorSamples(self)

    def raw_features(self, content: Tensor) -> Tensor:
        """The values of a series (C, S) themselves: (C·S,)."""
        return content.flatten()


class SensorSamples(Samples):
    """The series, generated when they are read."""

    def __init__(self, source: SensorSeries) -> None:
        self.source = source
        self.lengths = np.ones(source.count)
        self.classes = tuple(f"{lag:+.2f} periods" for lag in source.lags)
        self.labels = np.arange(source.count, dtype=np.int64) % len(self.classes)
        self.fingerprint = fingerprint(to_data(source, lambda cls: cls.__name__))

    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        """One view (C, S), with another amplitude."""
        return (self.content(index) * (0.8 + 0.4 * torch.rand((), generator=generator)),)

    def content(self, index: int) -> Tensor:
        """The series (C, S)."""
        source, drawn = self.source, generator(self.source.seed, "series", index)
        speed, phase = 1 / (8 + 8 * torch.rand((), generator=drawn)), torch.rand((), generator=drawn)
        periods = speed * torch.arange(source.length) + phase  # (S,)
        lags = torch.arange(source.channels)[:, None] * source.lags[int(self.labels[index])]  # (C, 1)
        amplitude = 0.5 + torch.rand(source.channels, 1, generator=drawn)
        wave = amplitude * torch.sin(2 * math.pi * (periods - lags))  # (C, S)
        return wave + source.noise * torch.randn(wave.shape, generator=drawn)

    def name(self, index: int) -> str:
        return f"machine {index}"


@attrs.frozen(kw_only=True)
class SeriesPatches(FeatureEncoder):
    """Cuts a series (C, S) into patches along time, over all channels, and maps each linearly to a vector.

    Attributes:
        patch: number of values of each channel in a patch.
    """

    width: int = 64
    patch: int = 8

    def layout(self, size: tuple[int, ...]) -> Layout:
        if size[-1] < self.patch:
            raise SpecError(f"a series of {size[-1]} values is shorter than a patch", hint="use smaller patches")
        return Layout((size[-1] // self.patch,))

    def build(self, signal: Signal) -> SeriesPatchesModule:
        if signal.kind != "series" or signal.axes[0] is None:
            raise SpecError(f"SeriesPatches reads series, got {signal.kind!r}", hint="use a source of series")
        return SeriesPatchesModule(self, signal.axes[0])


class SeriesPatchesModule(FeatureEncoderModule):
    """The linear map, and the mask embedding."""

    def __init__(self, spec: SeriesPatches, channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv1d(channels, spec.width, spec.patch, stride=spec.patch)
        self.mask_embedding = nn.Parameter(0.02 * torch.randn(spec.width))

    def embed(self, view: View) -> Tokens:
        """Content (B, C, S) to features (B, T, D)."""
        return Tokens(features=self.projection(view.content).mT, layout=view.layout, padding=view.padding)

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Hides patches, adds position codes, drops patches: features (B, T, D) to (R, V, D)."""
        features = corrupt(tokens.features, mask, self.mask_embedding, padding=tokens.padding)
        _, t, width = features.shape
        angles = torch.arange(t)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)  # (T, D/2)
        features = features + torch.cat([angles.sin(), angles.cos()], 1).to(features)
        return drop(attrs.evolve(tokens, features=features, padding=repeat(tokens.padding, mask)), mask)


@hookimpl
def didact_feature_encoders() -> dict[str, type]:
    return {"patches": SeriesPatches}


@hookimpl
def didact_components() -> dict[str, type]:
    return {"sensors": SensorSeries}


@hookimpl
def didact_examples() -> Any:
    return examples


def examples(folder: Any) -> dict[str, list[Any]]:
    """Small instances for ``didact plugin check``; Only this function needs didact-kit."""
    from didact_kit import Example

    series = SensorSeries(count=20, length=40)
    return {"sensors": [Example(spec=series)], "patches": [Example(spec=SeriesPatches(width=16), source=series)]}
