"""Audio files: decoding, and the checks of ``didact ingest audio``."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import numpy as np
import soundfile

from didact import DataError
from didact_stores import Medium, Record

STREAMED = 0x7FFFFF00  # a writer that cannot seek, such as a pipe, declares a size of at least this as a placeholder
SILENT_RANGE = 2e-4  # largest range of a silent file's samples (full scale: 2); permits dither of three 16-bit steps
OGG_HEADER_BYTES, OGG_END_OF_STREAM = 27, 4


class AudioMedium(Medium):
    """Audio files. Each file is decoded completely once, so that training does not fail on a broken one.

    Silent files are kept, and reported as suspicious.
    """

    kind = "audio"
    unit = "seconds"
    suffixes = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au")

    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        samples, rate_hz = decode_samples(data, name)
        suspect = "silent" if np.ptp(samples) < SILENT_RANGE else ""
        return [Record(data=data, length=len(samples) / rate_hz, name=name, suspect=suspect)]

    def describe(self, record: Record) -> str:
        about = soundfile.info(io.BytesIO(record.data))  # reads only the header
        channels = {1: "mono", 2: "stereo"}.get(about.channels, f"{about.channels} channels")
        return f"{super().describe(record)}  {about.samplerate} Hz {channels} {about.format} {about.subtype}"


def decode_samples(data: bytes, name: str) -> tuple[np.ndarray, int]:
    """Decodes an audio file to samples (S,) float32, the mean of its channels, and their rate in hertz.

    Args:
        data: the file's bytes, in any format that libsndfile reads.
        name: the file's name, for messages.

    Raises:
        DataError: the file cannot be decoded, is empty, is truncated, or has values that are not finite.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            declared, rate_hz, about = file.frames, file.samplerate, file.extra_info
            samples = file.read(dtype="float32", always_2d=True)  # (S, channels)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).removeprefix("Error : ").split(">: ")[-1].rstrip(".")
        raise DataError(f"it cannot be decoded: {reason}", where=name, hint="replace or remove the file") from None
    missing = _missing(data, about, declared, len(samples))
    if missing:
        raise DataError(f"it is truncated: {missing}", where=name, hint="copy or download the file again, or remove it")
    if len(samples) == 0:
        raise DataError("it has no samples", where=name, hint="remove the file")
    finite = np.isfinite(samples)
    if not finite.all():
        first = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise DataError(
            f"it has {int((~finite).sum())} values that are not finite; the first is "
            f"{samples[first][~finite[first]][0]} at {first / rate_hz:.3f} s",
            where=name,
            hint="export the file again, or remove it",
        )
    return samples.mean(axis=1), rate_hz


def _missing(data: bytes, about: str, declared: int, decoded: int) -> str:
    """Describes what a truncated file lacks; empty for a complete file. libsndfile reads truncated files silently."""
    chunk = re.search(r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", about, re.MULTILINE)  # WAV and AIFF
    if chunk and int(chunk[2]) < int(chunk[1]) < STREAMED:
        return f"its header declares {chunk[1]} bytes of audio, and it has {chunk[2]}"
    if decoded < declared:  # MP3
        return f"its header declares {declared} samples, and it has {decoded}"
    if data[:4] == b"OggS":
        page = data[data.rfind(b"OggS") :]
        segments = page[OGG_HEADER_BYTES : OGG_HEADER_BYTES + page[26]] if len(page) >= OGG_HEADER_BYTES else b""
        whole = bool(segments) and len(page) >= OGG_HEADER_BYTES + len(segments) + sum(segments)
        if not whole or not page[5] & OGG_END_OF_STREAM:
            return "its last Ogg page is incomplete or does not end the stream"
    return ""
