"""Sound, for people to listen to."""

from __future__ import annotations

import io
import wave

import attrs
from torch import Tensor

LOUDEST = 32_767  # of 16-bit PCM


@attrs.frozen(kw_only=True, eq=False)
class Sound:
    """Mono sound.

    Attributes:
        samples: (S,) float; full scale at ±1.
        rate_hz: samples per second.
    """

    samples: Tensor
    rate_hz: int

    def wav(self) -> bytes:
        """A WAV file of it, 16-bit PCM; what is beyond full scale is clipped."""
        pulses = (self.samples.detach().float().cpu().clamp(-1, 1) * LOUDEST).round().numpy().astype("<i2")  # (S,)
        file = io.BytesIO()
        with wave.open(file, "wb") as written:
            written.setnchannels(1)
            written.setsampwidth(2)
            written.setframerate(self.rate_hz)
            written.writeframes(pulses.tobytes())
        return file.getvalue()
