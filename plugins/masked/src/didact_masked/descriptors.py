"""Descriptors: what is known of each position without the network that learns from it."""

from __future__ import annotations

import abc
import operator
from pathlib import Path
from typing import Literal, Self

import attrs
import torch
import torchaudio
from torch import Tensor, nn

from didact import Collect, Network, Signal, Spec, SpecError, View
from didact.tensors import Feature

WINDOW_MS, HOP_MS = 25, 10  # of a frame of `MFCC`, and from one to the next: Kaldi's
DELTA_FRAMES = 5  # that a difference of `MFCC` is taken over: the recipe's


@attrs.frozen(kw_only=True)
class Descriptor(Spec, abc.ABC):
    """What each position is described by."""

    @abc.abstractmethod
    def build(self, network: Network) -> DescriptorModule:
        """The module, for the samples that ``network`` reads.

        Raises:
            SpecError: it cannot describe such samples.
        """


class DescriptorModule(nn.Module, abc.ABC):
    """A descriptor at work; nothing in it is trained.

    Attributes:
        width: F of what it gives.
    """

    width: int

    @abc.abstractmethod
    def forward(self, view: View) -> Tensor:
        """The description of every position of a view: (B, T, F) float32, without gradient.

        That of a sample depends on nothing beside it in the batch; at padding it is finite, and means nothing.
        """


# ── images, and all else that a layout cuts into pieces ──────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class PatchPixels(Descriptor):
    """The values themselves of the piece of the sample that a position stands for, as MAE predicts them.

    Serves images and every other array (C, *axes) that the layout's positions divide evenly, axis by axis.

    Attributes:
        normalize: whether each piece's values get mean 0 and variance 1, which improves what is learned (He et al.
            2022, table 1d).
        epsilon: added to that variance; 1e-6 as released.
    """

    normalize: bool = True
    epsilon: float = 1e-6

    def validate(self) -> None:
        self.require(self.epsilon > 0, "epsilon", "above 0")

    def build(self, network: Network) -> PatchPixelsModule:
        axes = [axis for axis in network.signal.axes if axis is not None]
        layout = network.layout.shape if network.layout is not None else ()
        sides = axes[1:]
        if not layout or len(sides) != len(layout) or any(map(operator.mod, sides, layout)):
            raise SpecError(
                f"PatchPixels needs samples of one size, (channels, …), that the encoder cuts into equal pieces; the "
                f"source's have the axes {network.signal.axes}, and the layout is {layout or 'not always the same'}",
                mend="use a source of images of one size and patches that divide it, or another descriptor",
            )
        width = axes[0]
        for side, parts in zip(sides, layout, strict=True):
            width *= side // parts
        if width == 1 and self.normalize:
            raise SpecError(
                "a position stands for one value, which has no variance to be normalised by",
                where="normalize",
                mend="False, or an encoder whose positions stand for more",
            )
        return PatchPixelsModule(self, width)


class PatchPixelsModule(DescriptorModule):
    """No weights."""

    def __init__(self, spec: PatchPixels, width: int) -> None:
        super().__init__()
        self.spec, self.width = spec, width

    def forward(self, view: View) -> Tensor:
        """Content (B, C, H·p, W·p) to (B, T, p·p·C), rows of a piece first, channels last, as MAE's."""
        content, layout = view.content.float(), view.layout.shape
        samples, channels, *sides = content.shape
        cut = [size for parts, side in zip(layout, sides, strict=True) for size in (parts, side // parts)]
        axes = range(2, 2 + len(cut))
        order = (0, *axes[::2], *axes[1::2], 1)  # (B, C, H, p, W, p) -> (B, H, W, p, p, C)
        values = content.reshape(samples, channels, *cut).permute(order).reshape(samples, -1, self.width)  # (B, T, F)
        if not self.spec.normalize:
            return values
        variance, mean = torch.var_mean(values, -1, keepdim=True)  # of F - 1, as released
        return (values - mean) / (variance + self.spec.epsilon).sqrt()


# ── sound ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class MFCC(Descriptor):
    """Mel-frequency cepstral coefficients with their first and second differences: what HuBERT's first clusters are of.

    Hsu et al. 2021, HuBERT, section IV.B: 13 coefficients, computed as Kaldi does, 25 ms every 10 ms, and the
    differences over five frames: 39 numbers. A position takes the frame that begins with it.

    Attributes:
        coefficients: of each frame, of 23 mel bands.
    """

    coefficients: int = 13

    def validate(self) -> None:
        self.require(1 <= self.coefficients <= 23, "coefficients", "from 1 to 23, the mel bands")

    def build(self, network: Network) -> MFCCModule:
        signal = network.signal
        if signal.rate_hz is None or len(signal.axes) != 1:
            raise SpecError(
                f"MFCC describes mono sound of a known rate, and the source gives {signal.kind} of axes {signal.axes}",
                mend="use a source of waveforms, such as didact_speech.Waveforms, or another descriptor",
            )
        hop, stride = HOP_MS * signal.rate_hz // 1000, network.encoder.stride
        if stride is None or stride % hop:
            said = "the encoder does not tell its stride" if stride is None else f"the encoder's stride is {stride}"
            raise SpecError(
                f"MFCC has a frame every {hop} values ({HOP_MS} ms), of which a position is to take one: {said}",
                mend=f"use an encoder of frames whose stride is a multiple of {hop}, or another descriptor",
            )
        return MFCCModule(self, signal.rate_hz, stride // hop)


class MFCCModule(DescriptorModule):
    """No weights.

    Attributes:
        frames: from one position to the next.
    """

    def __init__(self, spec: MFCC, rate_hz: int, frames: int) -> None:
        super().__init__()
        self.spec, self.rate_hz, self.frames, self.width = spec, rate_hz, frames, 3 * spec.coefficients
        self.window, self.hop = WINDOW_MS * rate_hz // 1000, HOP_MS * rate_hz // 1000

    @torch.no_grad()
    def forward(self, view: View) -> Tensor:
        """Waveforms (B, S) to (B, T, 3 · coefficients)."""
        waveforms = view.content
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = self._coefficients(waveforms.float())  # (B, C, T')
            held = self._held(view, frames.shape[2])  # (B, 1, T')
            statics = frames.gather(2, held.expand_as(frames))
            deltas = self._differences(statics, held)
            described = torch.cat([statics, deltas, self._differences(deltas, held)], 1).transpose(1, 2)  # (B, T', F)
        taken = torch.arange(view.layout.positions, device=described.device) * self.frames
        return described[:, taken.clamp(max=described.shape[1] - 1)]  # (B, T, F)

    def _coefficients(self, waveforms: Tensor) -> Tensor:
        """Of waveforms (B, S), padding included: (B, C, T').

        Kaldi's frames know nothing of each other, so the waveforms are told as one: a call takes half the time of many.
        """
        samples, size = waveforms.shape
        size = max(size, self.window)
        room = -(-size // self.hop) * self.hop  # so that each begins with a frame
        line = nn.functional.pad(waveforms, (0, room - waveforms.shape[1])).flatten()
        frames: Tensor = torchaudio.compliance.kaldi.mfcc(
            nn.functional.pad(line, (0, self.window - self.hop))[None],
            sample_frequency=self.rate_hz,
            num_ceps=self.spec.coefficients,
            frame_length=WINDOW_MS,
            frame_shift=HOP_MS,
            use_energy=False,
        )  # (B · room / hop, C)
        own = (size - self.window) // self.hop + 1  # the others reach into the next waveform
        return frames.view(samples, room // self.hop, -1)[:, :own].transpose(1, 2)

    def _held(self, view: View, frames: int) -> Tensor:
        """Which frame stands at each place, (B, 1, T') int64: beyond a sample's end its last one.

        So its differences there are those that it has when it is alone.
        """
        places = torch.arange(frames, device=view.content.device).expand(len(view.content), -1)  # (B, T')
        if view.lengths is None:
            return places[:, None]
        last = (view.lengths.to(places.device) - self.window) // self.hop  # (B,)
        return places.minimum(last.clamp(min=0)[:, None])[:, None]

    def _differences(self, values: Tensor, held: Tensor) -> Tensor:
        """Of neighbouring frames: (B, C, T') to (B, C, T')."""
        differences: Tensor = torchaudio.functional.compute_deltas(values, win_length=DELTA_FRAMES)
        return differences.gather(2, held.expand_as(differences))


# ── what an earlier run learned ──────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class EarlierLayer(Descriptor):
    """What a block of a network that another run trained makes of the whole input; the network stays as it is.

    HuBERT's later iterations cluster the sixth block of the one before (Hsu et al. 2021, section IV.B). The other run's
    folder must stay where it is: this run's parts are built from it, also when resumed. It computes in this run's
    precision.

    Attributes:
        run: the other run's folder.
        block: whose feature it is, from 1 for the lowest.
        feature: of it.
        network: the ``student`` or the ``teacher``.
        step: of the checkpoint; None for the newest there is.
    """

    run: str
    block: int = 6
    feature: Feature = "block"
    network: Literal["student", "teacher"] = "student"
    step: int | None = None

    def validate(self) -> None:
        self.require(self.block >= 1, "block", "at least 1")

    def build(self, network: Network) -> EarlierLayerModule:
        from didact.record import RunRecord  # here: nobody else need wait for it

        earlier = RunRecord.open(Path(self.run)).network(self.network, step=self.step)
        theirs, ours = _said(earlier.signal), _said(network.signal)
        if theirs != ours:
            raise SpecError(
                f"the run in {self.run} learned from {theirs}, and the source gives {ours}",
                where="run",
                mend="take a run of the same kind of samples",
            )
        depth = len(earlier.backbone.blocks)
        if self.block > depth:
            raise SpecError(
                f"EarlierLayer.block must be at most {depth}, the depth of the network in {self.run}, got {self.block}",
                where="block",
                mend="HuBERT takes the middle one",
            )
        return EarlierLayerModule(earlier, Collect(feature=self.feature, last=depth - self.block + 1))


def _said(signal: Signal) -> str:
    rate = f" at {signal.rate_hz:,} Hz" if signal.rate_hz is not None else ""
    return f"{signal.coding or signal.kind}{rate}"


class EarlierLayerModule(DescriptorModule):
    """The other network; always in evaluation mode."""

    def __init__(self, network: Network, collect: Collect) -> None:
        super().__init__()
        self.network, self.collect = network.requires_grad_(False), collect
        self.width = network.backbone.width
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, view: View) -> Tensor:
        """The block's feature at every position: (B, T, D) float32.

        Raises:
            SpecError: the other network has other positions.
        """
        tokens = self.network.encoder.embed(view)
        positions, expected = tokens.features.shape[1], view.layout.positions
        if positions != expected:
            raise SpecError(
                f"the other network has {positions} positions where this one has {expected}",
                where="experiment.targets.descriptor.run",
                mend="take a run whose encoder has the same patches or strides",
            )
        context = self.network.contextualize(tokens, None, self.collect)
        return context.positions_only(context.features[0]).float()
