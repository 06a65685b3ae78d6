"""Small instances of the components of didact-speech, for the contract's rules."""

from __future__ import annotations

import io
import math
import struct
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path

from didact import Layout
from didact_kit import Example, NoiseSource
from didact_speech.audio import AudioMedium
from didact_speech.filterbank import MelFilterbank
from didact_speech.spans import SpanMasker
from didact_speech.waveform import ConvWaveform
from didact_speech.waveforms import Waveforms
from didact_stores import Record
from didact_stores.ingest import write_store

RATE_HZ = 8_000

waves = NoiseSource(kind="waveform", axes=(400,), uneven=True, rate_hz=16_000)
long = [Layout((30,)), Layout((101,))]
filterbank = MelFilterbank(width=16, bands=6, window=20, hop=8, position_depth=2, position_kernel=5, position_groups=4)
convolutions = ConvWaveform(
    width=16, channels=12, layers=((10, 5), (3, 2)), position_depth=2, position_kernel=5, position_groups=4
)


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """The examples of each component, by short name. Writes the store that the source reads to ``folder``."""
    sounds = [_sound(index) for index in range(4)]
    write_store(folder / "audio", AudioMedium.kind, AudioMedium.unit, sounds)
    return {
        "conv-waveform": [
            Example(spec=convolutions.evolve(positions_see=see), source=waves) for see in ("mask", "zeros")
        ],
        "mel-filterbank": [
            Example(spec=filterbank.evolve(joined=joined, positions_see=see), source=waves)
            for joined, see in ((1, "mask"), (2, "zeros"))
        ],
        "span": [
            Example(spec=masker, layouts=long)
            for masker in (
                SpanMasker(length=5),
                SpanMasker(length=5, equalize_counts=True),
                SpanMasker(length=2, mask_dropout=0.2),
                SpanMasker(length=4, masks=3, corruption="drop"),
            )
        ],
        "waveforms": [
            Example(
                spec=Waveforms(store=str(folder / "audio"), sample_rate_hz=RATE_HZ, max_seconds=0.2, min_seconds=0.05),
                files={sound.name: sound.data for sound in sounds},
            )
        ],
        "audio": [
            Example(
                spec=AudioMedium(),
                good={sound.name: sound.data for sound in sounds},
                bad={"noise.wav": b"RIFF\x00\x00", "empty.flac": b""},
            )
        ],
    }


def _sound(index: int) -> Record:
    frames = 1200 + 300 * index
    samples = (int(9000 * math.sin(0.05 * (index + 2) * n) + (n * 7919) % 501) for n in range(frames))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE_HZ)
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    label = "xy"[index % 2]
    return Record(data=file.getvalue(), length=frames / RATE_HZ, name=f"{index}.wav", fields={"label": label})
