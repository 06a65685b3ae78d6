"""Images and audio as files."""

from __future__ import annotations

import io
import wave

import numpy as np
import torch
from PIL import Image

from didact_evaluate.media import png, wav


def test_a_png_file_holds_the_pixels():
    pixels = torch.arange(4 * 5 * 3, dtype=torch.uint8).reshape(4, 5, 3)
    for image in (pixels, pixels.flip(0)):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(image)))), image.numpy())


def test_a_wav_file_holds_the_samples_clipped_at_full_scale():
    with wave.open(io.BytesIO(wav(torch.tensor([0.0, 0.5, -1.0, 3.0]), 8_000))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8_000, 1, 2)
        pulses = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert pulses.tolist() == [0, 16384, -32767, 32767]
