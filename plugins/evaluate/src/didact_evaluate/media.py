"""Encodes images and audio as files."""

from __future__ import annotations

import io
import wave

from PIL import Image
from torch import Tensor

LOUDEST = 32_767  # maximum of 16-bit PCM


def png(pixels: Tensor) -> bytes:
    """Encodes an image (H, W, 3) uint8 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels.cpu().numpy()).save(file, "PNG")
    return file.getvalue()


def wav(samples: Tensor, rate_hz: int) -> bytes:
    """Encodes mono audio (S,) float as a WAV file, 16-bit PCM; values beyond full scale, ±1, are clipped."""
    pulses = (samples.detach().float().cpu().clamp(-1, 1) * LOUDEST).round().numpy().astype("<i2")  # (S,)
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, rate_hz, len(pulses), "NONE", "not compressed"))  # mono, 2 bytes per sample
        written.writeframes(pulses.tobytes())
    return file.getvalue()
