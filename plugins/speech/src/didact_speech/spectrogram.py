"""Log-mel spectrograms: classic features of speech, and an image of audio."""

from __future__ import annotations

import functools

import torch
import torchaudio
from torch import Tensor

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010  # customary since the 1980s
FLOOR = 1e-6  # added to a band's power, for waveforms of unit variance: 60 dB below loud speech
PICTURE_RANGE = 80.0  # dB between the loudest value and the darkest colour

# every sixteenth colour of viridis (van der Walt and Smith 2015, CC0), whose steps look equally large
VIRIDIS = (
    (68, 1, 84), (72, 24, 106), (71, 45, 123), (66, 64, 134), (59, 82, 139), (51, 99, 141), (44, 114, 142),
    (38, 130, 142), (33, 145, 140), (31, 160, 136), (40, 174, 128), (63, 188, 115), (94, 201, 98), (132, 212, 75),
    (173, 220, 48), (216, 226, 25), (253, 231, 37),
)  # fmt: skip


def log_mel(waveform: Tensor, rate_hz: int, bands: int) -> Tensor:
    """The logarithm of a waveform's power in mel bands.

    Args:
        waveform: (S,) float.
        rate_hz: sample rate.
        bands: number of bands, from 0 Hz to half the rate.

    Returns:
        (bands, frames) float32; one frame every 10 ms.
    """
    mel: Tensor = _transform(rate_hz, bands)(waveform.float())
    return torch.log(mel + FLOOR)


def statistics(waveform: Tensor, rate_hz: int, bands: int) -> Tensor:
    """Mean and standard deviation over time of each log-mel band: (2 · bands,) float32."""
    spectrogram = log_mel(waveform, rate_hz, bands)
    return torch.cat([spectrogram.mean(1), spectrogram.std(1, correction=0)])


def picture(waveform: Tensor, rate_hz: int, bands: int) -> Tensor:
    """A waveform's log-mel spectrogram as an image (bands, frames, 3) uint8, with low bands at the bottom."""
    decibels = log_mel(waveform, rate_hz, bands) * (10 / torch.log(torch.tensor(10.0)))
    share = (decibels - decibels.max()) / PICTURE_RANGE + 1  # the loudest is 1
    place = share.clamp(0, 1).flip(0) * (len(VIRIDIS) - 1)  # (bands, frames), position among the colours
    colours = torch.tensor(VIRIDIS, dtype=torch.float32)
    below = place.floor().clamp(max=len(VIRIDIS) - 2).long()
    mixed = torch.lerp(colours[below], colours[below + 1], (place - below)[..., None])  # (bands, frames, 3)
    return mixed.round().to(torch.uint8)


@functools.lru_cache(maxsize=8)
def _transform(rate_hz: int, bands: int) -> torchaudio.transforms.MelSpectrogram:
    window = round(WINDOW_SECONDS * rate_hz)
    return torchaudio.transforms.MelSpectrogram(
        sample_rate=rate_hz,
        win_length=window,
        hop_length=round(HOP_SECONDS * rate_hz),
        n_fft=2 * (1 << (window - 1).bit_length()),  # so that every low band contains a frequency
        n_mels=bands,
        center=True,
        pad_mode="constant",  # reflection would need more samples than a short file has
    )
