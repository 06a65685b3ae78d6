"""The filter bank: a fixed feature encoder of audio, for data sets that are too small to learn convolutions."""

from __future__ import annotations

import attrs
import torch
import torchaudio
from torch import Tensor

from didact import Layout, Signal, SpecError, Tokens, View
from didact_speech.frames import FrameEncoder, FrameEncoderModule

FLOOR = 1e-6  # added to a band's power; 60 dB below white noise of unit variance, whose power is 1


@attrs.frozen(kw_only=True)
class MelFilterbank(FrameEncoder):
    """Computes the logarithm of the power in mel bands for each frame and projects it to the width.

    This is the input of w2v-BERT 2.0 (Seamless 2023, 80 bands, two frames joined) and of self-supervised models of
    spectrograms. Nothing before the projection is learned, which makes a collapse of the targets less likely. Use it
    for hours of speech instead of thousands of hours. Frames depend on each other only where their windows overlap, by
    15 of 25 ms with the defaults.

    Attributes:
        bands: number of mel bands, from 0 Hz to half the sample rate; 80 in most speech models.
        window: samples in the Hann window of a frame; 400 is 25 ms at 16 kHz.
        hop: samples from one frame to the next; 160 is 10 ms at 16 kHz.
        joined: number of neighbouring frames that are joined into one position; 2 in w2v-BERT 2.0. Frames that are left
            over at a sample's end are not used.
        mean: value subtracted from every log power. For spoken digits of unit variance the mean is -4.3 and the
            deviation 4.0.
        deviation: standard deviation by which the difference is divided.
    """

    bands: int = 80
    window: int = 400
    hop: int = 160
    joined: int = 1
    mean: float = -4.0
    deviation: float = 4.0

    def validate(self) -> None:
        super().validate()
        self.require(self.bands >= 1, "bands", "at least 1")
        self.require(self.window >= 2, "window", "at least 2")
        self.require(1 <= self.hop <= self.window, "hop", f"from 1 to the window, {self.window}")
        self.require(self.joined >= 1, "joined", "at least 1")
        self.require(self.deviation > 0, "deviation", "above 0")

    @property
    def stride(self) -> int:
        """Samples from one position to the next."""
        return self.hop * self.joined

    @property
    def receptive_field(self) -> int:
        """Samples in the receptive field of one position, before positions are convolved."""
        return self.window + self.hop * (self.joined - 1)

    def layout(self, size: tuple[int, ...]) -> Layout:
        """The positions of a waveform of (S,) samples."""
        (samples,) = size
        positions = ((samples - self.window) // self.hop + 1) // self.joined if samples >= self.window else 0
        if positions < 1:
            raise self.too_short(samples, self.receptive_field)
        return Layout((positions,))

    def build(self, signal: Signal) -> MelFilterbankModule:
        self.require_waveform(signal)
        if signal.rate_hz is None:
            raise SpecError(
                "MelFilterbank needs the sample rate, and the source's signal does not give it",
                hint="set rate_hz in the source's signal",
            )
        return MelFilterbankModule(self, signal.rate_hz)


class MelFilterbankModule(FrameEncoderModule):
    """The weights of `MelFilterbank`, and its bands.

    Attributes:
        hann: (window,); scaled such that white noise of unit variance has power 1.
        weights: (F, bands); the weight of each frequency in each band; the weights of a band add up to 1.
    """

    hann: Tensor
    weights: Tensor

    def __init__(self, spec: MelFilterbank, rate_hz: int) -> None:
        super().__init__(spec, spec.bands * spec.joined)
        self.spec = spec
        self.fft_size = 2 * (1 << (spec.window - 1).bit_length())  # so that every low band contains a frequency
        hann = torch.hann_window(spec.window)
        self.register_buffer("hann", hann / hann.norm(), persistent=False)
        weights = torchaudio.functional.melscale_fbanks(
            self.fft_size // 2 + 1, f_min=0.0, f_max=rate_hz / 2, n_mels=spec.bands, sample_rate=rate_hz
        )
        self.register_buffer("weights", weights / weights.sum(0), persistent=False)

    def embed(self, view: View) -> Tokens:
        """Maps waveforms (B, S) to features (B, T, D) and latents (B, T, bands · joined)."""
        latents = self.log_mel(view.content)
        return Tokens(features=self.projection(latents), layout=view.layout, padding=view.padding, latents=latents)

    @torch.no_grad()
    def log_mel(self, waveforms: Tensor) -> Tensor:
        """Maps (B, S) to (B, T, bands · joined), without autocast, since bfloat16 keeps two digits."""
        spec = self.spec
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = waveforms.unfold(1, spec.window, spec.hop) * self.hann  # (B, T', window)
            power = torch.fft.rfft(frames, self.fft_size).abs().square()  # (B, T', F)
            mel = torch.log(power @ self.weights + FLOOR)  # (B, T', bands)
            mel = (mel - spec.mean) / spec.deviation
        rows, positions = mel.shape[0], mel.shape[1] // spec.joined
        return mel[:, : positions * spec.joined].reshape(rows, positions, spec.joined * spec.bands)
