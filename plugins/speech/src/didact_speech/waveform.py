"""The learned feature encoder of waveforms: strided convolutions to frames of 20 ms."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor, nn

from didact import Layout, Signal, Tokens, View
from didact_speech.convolutions import FeatureConvolution
from didact_speech.frames import FrameEncoder, FrameEncoderModule

WAV2VEC2_LAYERS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))


@attrs.frozen(kw_only=True)
class ConvWaveform(FrameEncoder):
    """Strided convolutions from raw audio to frames, as in wav2vec 2.0 and both data2vecs (data2vec §4.2).

    With the defaults there is a frame every 320 samples (20 ms at 16 kHz), with a receptive field of 400 samples.

    Attributes:
        channels: number of channels of the feature convolutions, which take most of the memory; 512 in all published
            models.
        layers: (kernel, stride) of each feature convolution. The product of the strides is the number of samples from
            one frame to the next. At 8 kHz, remove one layer of stride 2 to keep frames of 20 ms.
        gradient_scale: factor on the gradient of the feature convolutions; 1 in data2vec, 0.1 in wav2vec 2.0 (fairseq's
            feature_grad_mult). 0 freezes them.
    """

    channels: int = 512
    layers: tuple[tuple[int, int], ...] = WAV2VEC2_LAYERS
    gradient_scale: float = 1.0

    def validate(self) -> None:
        super().validate()
        self.require(self.channels >= 1, "channels", "at least 1")
        pairs = len(self.layers) >= 1 and all(kernel >= stride >= 1 for kernel, stride in self.layers)
        self.require(pairs, "layers", "one or more pairs of a kernel and a stride, each kernel at least its stride")
        self.require(self.gradient_scale >= 0, "gradient_scale", "at least 0")

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(stride for _, stride in self.layers)

    @property
    def receptive_field(self) -> int:
        """Samples in the receptive field of one frame, before positions are convolved."""
        seen = 1
        for kernel, stride in reversed(self.layers):
            seen = (seen - 1) * stride + kernel
        return seen

    def layout(self, size: tuple[int, ...]) -> Layout:
        """The frames of a waveform of (S,) samples."""
        (frames,) = size
        for kernel, stride in self.layers:
            frames = (frames - kernel) // stride + 1 if frames >= kernel else 0
        if frames < 1:
            raise self.too_short(size[0], self.receptive_field)
        return Layout((frames,))

    def build(self, signal: Signal) -> ConvWaveformModule:
        self.require_waveform(signal)
        return ConvWaveformModule(self)


class ConvWaveformModule(FrameEncoderModule):
    """The weights of `ConvWaveform`.

    Attributes:
        features: convolutions from samples to frames.
        norm: over a frame's channels, before the projection.
    """

    def __init__(self, spec: ConvWaveform) -> None:
        super().__init__(spec, spec.channels)
        self.gradient_scale = spec.gradient_scale
        inputs = [1] + [spec.channels] * (len(spec.layers) - 1)
        self.features = nn.ModuleList(
            FeatureConvolution(channels, spec.channels, kernel, stride)
            for channels, (kernel, stride) in zip(inputs, spec.layers, strict=True)
        )
        self.norm = nn.LayerNorm(spec.channels)

    def embed(self, view: View) -> Tokens:
        """Maps waveforms (B, S) to features (B, T, D) and latents (B, T, C); frames do not reach into padding."""
        features = view.content[..., None]  # (B, S) -> (B, S, 1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.gradient_scale > 0):
            for convolution in self.features:
                features = convolution(features)  # (B, T', C)
        if self.gradient_scale not in (0, 1):
            features = _ScaledGradient.apply(features, self.gradient_scale)
        latents = self.norm(features)
        return Tokens(features=self.projection(latents), layout=view.layout, padding=view.padding, latents=latents)


class _ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: Tensor, scale: float) -> Tensor:
        ctx.scale = scale  # type: ignore[attr-defined]
        return features.view_as(features)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None  # type: ignore[attr-defined]
