"""The waveform's feature encoder: convolutions to frames of 20 ms, and positions that are convolved from them."""

from __future__ import annotations

import math
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact import (
    BatchMask,
    FeatureEncoder,
    FeatureEncoderModule,
    Layout,
    Signal,
    SpecError,
    Tokens,
    View,
    corrupt,
    drop,
    repeat,
)
from didact_speech.convolutions import FeatureConvolution, PositionalConvolution

WAV2VEC2_LAYERS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))


@attrs.frozen(kw_only=True)
class ConvWaveform(FeatureEncoder):
    """Frames from raw sound by strided convolutions, as in wav2vec 2.0 and both data2vecs (data2vec §4.2).

    A frame stands for as many samples as the strides multiply to: 320, or 20 ms at 16 kHz, of which it sees 400. What
    follows a frame's position is convolved from its neighbours after masking, so a masked frame's position comes from
    what stands in its place.

    Attributes:
        width: D, the size of each vector; 768 in the base model, 1024 in the large one.
        channels: of the feature convolutions; 512 in every published model. They take most of the memory.
        layers: (kernel, stride) of each feature convolution. The strides multiply to the samples that one frame stands
            for; at 8 kHz, leaving out one layer of stride 2 keeps the 20 ms.
        position_depth: convolutions in the positional stack; 5 in data2vec, 1 in wav2vec 2.0.
        position_kernel: frames that each of them sees; 19 in data2vec, 5 of which see 91 frames together.
        position_groups: groups of their channels; 16. Must divide the width.
        positions_see: what stands in a masked frame's place when positions are convolved. ``mask``: the mask embedding
            (data2vec). ``zeros``: nothing (data2vec 2.0, whose student never meets a masked frame otherwise).
        dropout: on the projected features, of the student only; 0 in data2vec.
        gradient_scale: factor on the gradient that reaches the feature convolutions; 1 in data2vec, 0.1 in wav2vec 2.0,
            0 freezes them (fairseq's feature_grad_mult).
    """

    width: int = 768
    channels: int = 512
    layers: tuple[tuple[int, int], ...] = WAV2VEC2_LAYERS
    position_depth: int = 5
    position_kernel: int = 19
    position_groups: int = 16
    positions_see: Literal["mask", "zeros"] = "mask"
    dropout: float = 0.0
    gradient_scale: float = 1.0

    def validate(self) -> None:
        self.require(self.width >= 1, "width", "at least 1")
        self.require(self.channels >= 1, "channels", "at least 1")
        pairs = len(self.layers) >= 1 and all(kernel >= stride >= 1 for kernel, stride in self.layers)
        self.require(pairs, "layers", "one or more pairs of a kernel and a stride, each kernel at least its stride")
        self.require(self.position_depth >= 0, "position_depth", "at least 0")
        self.require(self.position_kernel >= 1, "position_kernel", "at least 1")
        divides = self.position_groups >= 1 and self.width % self.position_groups == 0
        self.require(divides, "position_groups", f"a divisor of the width, {self.width}")
        self.require(0 <= self.dropout < 1, "dropout", "from 0 up to but not 1")
        self.require(self.gradient_scale >= 0, "gradient_scale", "at least 0")

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(stride for _, stride in self.layers)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees, before positions."""
        seen = 1
        for kernel, stride in reversed(self.layers):
            seen = (seen - 1) * stride + kernel
        return seen

    def layout(self, size: tuple[int, ...]) -> Layout:
        """Frames of a waveform of (S,) samples."""
        (frames,) = size
        for kernel, stride in self.layers:
            frames = (frames - kernel) // stride + 1 if frames >= kernel else 0
        if frames < 1:
            raise SpecError(
                f"a waveform of {size[0]} samples gives no frame: ConvWaveform sees {self.receptive_field} at a time",
                where="source",
                mend=f"leave shorter ones out (min_seconds: at least {self.receptive_field} / sample_rate_hz)",
            )
        return Layout((frames,))

    def build(self, signal: Signal) -> ConvWaveformModule:
        if signal.kind != "waveform" or len(signal.axes) != 1:
            raise SpecError(
                f"ConvWaveform reads mono waveforms, but the source gives {signal.kind} of axes {signal.axes}",
                mend="use a source of waveforms, such as didact_speech.Waveforms, or this source's own encoder",
            )
        return ConvWaveformModule(self)


class ConvWaveformModule(FeatureEncoderModule):
    """The weights of `ConvWaveform`.

    Attributes:
        features: convolutions from samples to frames.
        norm: of a frame's channels, before they are projected.
        projection: to the width.
        mask_embedding: (D,); what stands in a masked frame's place.
        positions: convolutions whose result is added to the frames.
    """

    def __init__(self, spec: ConvWaveform) -> None:
        super().__init__()
        self.spec = spec
        inputs = [1] + [spec.channels] * (len(spec.layers) - 1)
        self.features = nn.ModuleList(
            FeatureConvolution(channels, spec.channels, kernel, stride)
            for channels, (kernel, stride) in zip(inputs, spec.layers, strict=True)
        )
        self.norm = nn.LayerNorm(spec.channels)
        self.projection = nn.Linear(spec.channels, spec.width)
        self.dropout = nn.Dropout(spec.dropout)
        self.mask_embedding = nn.Parameter(torch.rand(spec.width))  # uniform in [0, 1), as released
        self.positions = nn.ModuleList(
            PositionalConvolution(spec.width, spec.position_kernel, spec.position_groups)
            for _ in range(spec.position_depth)
        )

    def embed(self, view: View) -> Tokens:
        """From waveforms (B, S) to features (B, T, D) and latents (B, T, C); no frame sees behind its sample's end."""
        features = view.content[..., None]  # (B, S) -> (B, S, 1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.spec.gradient_scale > 0):
            for convolution in self.features:
                features = convolution(features)  # (B, T', C)
        if self.spec.gradient_scale not in (0, 1):
            features = _ScaledGradient.apply(features, self.spec.gradient_scale)
        latents = self.norm(features)
        return Tokens(features=self.projection(latents), layout=view.layout, padding=view.padding, latents=latents)

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Masks, adds the positions convolved from what is left, and drops: (B, T, D) to (R, V, D)."""
        features = corrupt(self.dropout(tokens.features), mask, self.mask_embedding)  # (R, T, D)
        padding = repeat(tokens.padding, mask)  # (R, T)
        seen = features if mask is None else self._seen(features, mask)
        features = features + self._convolve_positions(seen, padding)
        return drop(attrs.evolve(tokens, features=features, padding=padding), mask)

    def _seen(self, features: Tensor, mask: BatchMask) -> Tensor:
        """What the positions are convolved from: (R, T, D) without a trace of what the student must not see."""
        rows, t, _ = features.shape
        unseen = None if mask.visible is None else _dropped(mask, rows, t)
        if self.spec.positions_see == "mask":
            replacement: Tensor = self.mask_embedding  # hidden frames hold it already
        else:
            replacement = torch.zeros_like(self.mask_embedding)
            if mask.hidden is not None:
                hidden = mask.hidden.reshape(rows, t)  # (B, M, T) -> (R, T)
                unseen = hidden if unseen is None else unseen | hidden
        if unseen is None:
            return features
        return torch.where(unseen[..., None], replacement.to(features.dtype), features)

    def _convolve_positions(self, seen: Tensor, padding: Tensor | None) -> Tensor:
        """From (R, T, D) to (R, T, D).

        Padding is cleared before every layer, as the border of an unpadded sample is. fairseq and Hugging Face clear it
        once, before the first: there a sample's last 36 frames depend on the length of its neighbours in the batch.
        """
        for position in self.positions:
            if padding is not None:
                seen = seen.masked_fill(padding[..., None], 0)
            seen = position(seen)
        return seen


class _ScaledGradient(torch.autograd.Function):
    """The identity, with the gradient multiplied."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: Tensor, scale: float) -> Tensor:
        ctx.scale = scale  # type: ignore[attr-defined]
        return features.view_as(features)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None  # type: ignore[attr-defined]


def _dropped(mask: BatchMask, rows: int, positions: int) -> Tensor:
    """(R, T) bool; true = taken out of the sequence."""
    assert mask.visible is not None
    held = torch.ones_like(mask.visible, dtype=torch.int32)
    if mask.visible_padding is not None:
        held = held.masked_fill(mask.visible_padding, 0)
    kept = held.new_zeros(rows, positions).scatter_reduce(1, mask.visible, held, "amax")  # filler names position 0 too
    return kept == 0
