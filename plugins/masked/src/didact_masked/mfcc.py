"""HuBERT's first target features: mel-frequency cepstral coefficients."""

from __future__ import annotations

import attrs
import torch
import torchaudio
from torch import Tensor, nn

from didact import Network, SpecError, View
from didact_masked.target_features import TargetFeature, TargetFeatureModule

WINDOW_MS, HOP_MS = 25, 10  # length of a frame and distance between frames, as in Kaldi
DELTA_FRAMES = 5  # frames for a difference, as in HuBERT's recipe


@attrs.frozen(kw_only=True)
class MFCC(TargetFeature):
    """Mel-frequency cepstral coefficients with first and second differences, as in HuBERT's first iteration.

    Hsu et al. 2021, HuBERT, section IV.B: 13 coefficients, computed as in Kaldi for 25 ms every 10 ms, and differences
    over five frames, which makes 39 numbers. Each position uses the frame that starts at the same time.

    Attributes:
        coefficients: number of coefficients of each frame, from 23 mel bands.
    """

    coefficients: int = 13

    def validate(self) -> None:
        self.require(1 <= self.coefficients <= 23, "coefficients", "from 1 to 23, the mel bands")

    def build(self, network: Network) -> MFCCModule:
        signal = network.signal
        if signal.rate_hz is None or len(signal.axes) != 1:
            raise SpecError(
                f"MFCC describes mono sound of a known rate, and the source gives {signal.kind} of axes {signal.axes}",
                hint="use a source of waveforms, such as didact_speech.Waveforms, or another target feature",
            )
        hop, stride = HOP_MS * signal.rate_hz // 1000, network.encoder.stride
        if stride is None or stride % hop:
            said = "the encoder has no stride" if stride is None else f"the encoder's stride is {stride}"
            raise SpecError(
                f"MFCC has a frame every {hop} values ({HOP_MS} ms), and each position uses one: {said}",
                hint=f"use an encoder of frames whose stride is a multiple of {hop}, or another target feature",
            )
        return MFCCModule(self, signal.rate_hz, stride // hop)


class MFCCModule(TargetFeatureModule):
    """No weights.

    Attributes:
        frames: number of frames from one position to the next.
    """

    def __init__(self, spec: MFCC, rate_hz: int, frames: int) -> None:
        super().__init__()
        self.spec, self.rate_hz, self.frames, self.width = spec, rate_hz, frames, 3 * spec.coefficients
        self.window, self.hop = WINDOW_MS * rate_hz // 1000, HOP_MS * rate_hz // 1000

    @torch.no_grad()
    def forward(self, view: View) -> Tensor:
        """Computes (B, T, 3 · coefficients) from waveforms (B, S)."""
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
        """Computes the coefficients of waveforms (B, S), padding included: (B, C, T').

        Kaldi's frames are independent of each other, so the waveforms are concatenated: one call takes half the time of
        a call for each waveform.
        """
        samples, size = waveforms.shape
        size = max(size, self.window)
        room = -(-size // self.hop) * self.hop  # so that each waveform starts with a frame
        line = nn.functional.pad(waveforms, (0, room - waveforms.shape[1])).flatten()
        frames: Tensor = torchaudio.compliance.kaldi.mfcc(
            nn.functional.pad(line, (0, self.window - self.hop))[None],
            sample_frequency=self.rate_hz,
            num_ceps=self.spec.coefficients,
            frame_length=WINDOW_MS,
            frame_shift=HOP_MS,
            use_energy=False,
        )  # (B · room / hop, C)
        own = (size - self.window) // self.hop + 1  # later frames reach into the next waveform
        return frames.view(samples, room // self.hop, -1)[:, :own].transpose(1, 2)

    def _held(self, view: View, frames: int) -> Tensor:
        """Returns the index of the frame to use at each place, (B, 1, T') int64: beyond a sample's end its last frame.

        A sample's differences are therefore the same with and without padding.
        """
        places = torch.arange(frames, device=view.content.device).expand(len(view.content), -1)  # (B, T')
        if view.lengths is None:
            return places[:, None]
        last = (view.lengths.to(places.device) - self.window) // self.hop  # (B,)
        return places.minimum(last.clamp(min=0)[:, None])[:, None]

    def _differences(self, values: Tensor, held: Tensor) -> Tensor:
        """Computes the differences of neighbouring frames: (B, C, T') to (B, C, T')."""
        differences: Tensor = torchaudio.functional.compute_deltas(values, win_length=DELTA_FRAMES)
        return differences.gather(2, held.expand_as(differences))
