"""Small audio files and stores, generated for the tests."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import numpy as np
import pytest
import soundfile

from didact_speech import AudioMedium
from didact_stores.ingest import write_store


def make_tone(seconds: float, rate_hz: int = 16_000, hz: float = 440.0, offset: float = 0.0) -> np.ndarray:
    """A tone in noise, (S,) float32."""
    samples = round(seconds * rate_hz)
    noise = np.random.default_rng(samples).normal(size=samples) * 0.05
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(samples) / rate_hz) + noise + offset).astype(np.float32)


def to_file(samples: np.ndarray, rate_hz: int = 16_000, format: str = "WAV", subtype: str | None = None) -> bytes:
    """A sound file's bytes."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=format, subtype=subtype)
    return file.getvalue()


@pytest.fixture
def tone() -> Callable[..., np.ndarray]:
    """`make_tone`; tests cannot import from here."""
    return make_tone


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """`to_file`, likewise."""
    return to_file


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[[list[tuple[bytes, Mapping[str, str]]]], str]:
    """Writes (file, fields) into a new store and returns its path."""

    def make(files: list[tuple[bytes, Mapping[str, str]]]) -> str:
        medium, folder = AudioMedium(), tmp_path / "store"
        records = [
            attrs.evolve(record, fields=fields)
            for number, (data, fields) in enumerate(files)
            for record in medium.records(data, f"{number}.wav", {})
        ]
        write_store(folder, "audio", "seconds", records)
        return str(folder)

    return make
