"""The base of audio encoders: masks of frames, and position codes convolved from neighbouring frames."""

from __future__ import annotations

import abc
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact import BatchMask, FeatureEncoder, FeatureEncoderModule, Signal, SpecError, Tokens
from didact.placing import corrupt, drop, repeat
from didact_speech.convolutions import PositionalConvolution


@attrs.frozen(kw_only=True)
class FrameEncoder(FeatureEncoder, abc.ABC):
    """The fields that encoders of audio share.

    Position codes are convolved from the frames after masking, so they contain no information about masked frames.

    Attributes:
        width: D, the size of each vector; 768 in the base model, 1024 in the large one.
        position_depth: number of convolutions in the positional stack; 5 in data2vec, 1 in wav2vec 2.0.
        position_kernel: frames in the kernel of each convolution; 19 in data2vec, where 5 of them cover 91 frames.
        position_groups: number of channel groups of each convolution; 16. It must divide the width.
        positions_see: the value of a masked frame when positions are convolved. ``mask``: the mask embedding
            (data2vec). ``zeros``: zeros (data2vec 2.0, which drops masked frames).
        dropout: share of the projected features that are dropped, for the student only; 0 in data2vec.
    """

    width: int = 768
    position_depth: int = 5
    position_kernel: int = 19
    position_groups: int = 16
    positions_see: Literal["mask", "zeros"] = "mask"
    dropout: float = 0.0

    def validate(self) -> None:
        self.require(self.width >= 1, "width", "at least 1")
        self.require(self.position_depth >= 0, "position_depth", "at least 0")
        self.require(self.position_kernel >= 1, "position_kernel", "at least 1")
        divides = self.position_groups >= 1 and self.width % self.position_groups == 0
        self.require(divides, "position_groups", f"a divisor of the width, {self.width}")
        self.require(0 <= self.dropout < 1, "dropout", "from 0 up to but not 1")

    @property
    @abc.abstractmethod
    def stride(self) -> int:
        """Samples from one position to the next."""

    def require_waveform(self, signal: Signal) -> None:
        """Raises a `SpecError` if a signal is not mono audio."""
        if signal.kind != "waveform" or len(signal.axes) != 1:
            raise SpecError(
                f"{type(self).__name__} reads mono waveforms, but the source gives {signal.kind} of axes {signal.axes}",
                hint="use a source of waveforms, such as didact_speech.Waveforms, or an encoder for this signal",
            )

    def too_short(self, samples: int, seen: int) -> SpecError:
        """The error for a waveform of ``samples`` that is shorter than the ``seen`` samples of one position."""
        return SpecError(
            f"a waveform of {samples} samples gives no frame: {type(self).__name__} sees {seen} at a time",
            where="experiment.source",
            hint=f"exclude shorter waveforms: set min_seconds to at least {seen} / sample_rate_hz",
        )


class FrameEncoderModule(FeatureEncoderModule):
    """The weights that encoders of audio share.

    Attributes:
        projection: from a frame to the width.
        mask_embedding: (D,); replaces a hidden frame.
        positions: convolutions whose output is added to the frames.
    """

    position_parts = ("positions",)

    def __init__(self, spec: FrameEncoder, inputs: int) -> None:
        super().__init__()
        self._positions_see = spec.positions_see
        self.latent_width, self.stride = inputs, spec.stride
        self.projection = nn.Linear(inputs, spec.width)
        self.dropout = nn.Dropout(spec.dropout)
        self.mask_embedding = nn.Parameter(torch.rand(spec.width))  # uniform in [0, 1), as released
        self.positions = nn.ModuleList(
            PositionalConvolution(spec.width, spec.position_kernel, spec.position_groups)
            for _ in range(spec.position_depth)
        )

    def no_weight_decay(self) -> set[str]:
        """The names of the parameters that are exempt from weight decay."""
        return {"mask_embedding"}

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Masks frames, adds positions convolved from the masked frames, drops frames: (B, T, D) to (R, V, D)."""
        features = corrupt(
            self.dropout(tokens.features), mask, self.mask_embedding, padding=tokens.padding
        )  # (R, T, D)
        padding = repeat(tokens.padding, mask)  # (R, T)
        seen = features if mask is None else self._seen(features, mask)
        features = features + self._convolve_positions(seen, padding)
        return drop(attrs.evolve(tokens, features=features, padding=padding), mask)

    def _seen(self, features: Tensor, mask: BatchMask) -> Tensor:
        """The input of the positional convolutions: (R, T, D), with masked frames replaced."""
        rows, t, _ = features.shape
        unseen = None if mask.visible is None else _dropped(mask, rows, t)
        if self._positions_see == "mask":
            replacement: Tensor = self.mask_embedding  # hidden frames have this value already
        else:
            replacement = torch.zeros_like(self.mask_embedding)
            if mask.hidden is not None:
                hidden = mask.hidden.reshape(rows, t)  # (B, M, T) -> (R, T)
                unseen = hidden if unseen is None else unseen | hidden
        if unseen is None:
            return features
        return torch.where(unseen[..., None], replacement.to(features.dtype), features)

    def _convolve_positions(self, seen: Tensor, padding: Tensor | None) -> Tensor:
        """Maps (R, T, D) to (R, T, D).

        Padding is set to zero before every layer, like the border of an unpadded sample. fairseq and Hugging Face do so
        only before the first layer; there, a sample's last 36 frames depend on the lengths of the others in the batch.
        """
        for position in self.positions:
            if padding is not None:
                seen = seen.masked_fill(padding[..., None], 0)
            seen = position(seen)
        return seen


def _dropped(mask: BatchMask, rows: int, positions: int) -> Tensor:
    """The positions that are dropped from each row: (R, T) bool."""
    assert mask.visible is not None
    held = torch.ones_like(mask.visible, dtype=torch.int32)
    if mask.visible_padding is not None:
        held = held.masked_fill(mask.visible_padding, 0)
    kept = held.new_zeros(rows, positions).scatter_reduce(1, mask.visible, held, "amax")  # filler is at position 0
    return kept == 0
