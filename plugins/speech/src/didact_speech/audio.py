"""Sound files: decoding them, and what ``didact ingest audio`` checks before it takes one."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import numpy as np
import soundfile
import torch

from didact import DataError, Medium, Record, Sound

STREAMED = 0x7FFFFF00  # a writer that cannot seek back (a pipe) declares a size from here on; it does not know better
SILENT_RANGE = 2e-4  # between the least sample and the greatest, of 2 at most: dither of three steps of 16 bits
OGG_HEADER_BYTES, OGG_END_OF_STREAM = 27, 4


class AudioMedium(Medium):
    """Sound. Each file is decoded once, in full, so that no training meets a broken one.

    Silence is data, and suspect: it is kept and told of.
    """

    kind = "audio"
    unit = "seconds"
    suffixes = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au")

    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        sound = decode(data, name)
        suspect = "silent" if is_silent(sound) else ""
        return [Record(data=data, length=len(sound.samples) / sound.rate_hz, name=name, suspect=suspect)]

    def describe(self, record: Record) -> str:
        about = soundfile.info(io.BytesIO(record.data))  # the header alone
        channels = {1: "mono", 2: "stereo"}.get(about.channels, f"{about.channels} channels")
        return f"{super().describe(record)}  {about.samplerate} Hz {channels} {about.format} {about.subtype}"


def decode(data: bytes, name: str) -> Sound:
    """A sound file's samples (S,) float32: the mean of its channels.

    Args:
        data: of the file, in any format that libsndfile reads.
        name: of the file, for messages.

    Raises:
        DataError: it cannot be decoded, holds nothing, breaks off, or holds values that are not finite.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            declared, rate_hz, about = file.frames, file.samplerate, file.extra_info
            samples = file.read(dtype="float32", always_2d=True)  # (S, channels)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).removeprefix("Error : ").split(">: ")[-1].rstrip(".")
        raise DataError(f"it cannot be decoded: {reason}", where=name, mend="replace it, or leave it out") from None
    missing = _missing(data, about, declared, len(samples))
    if missing:
        raise DataError(f"it is truncated: {missing}", where=name, mend="fetch it again, or leave it out")
    if len(samples) == 0:
        raise DataError("it holds no sound: its length is 0", where=name, mend="leave it out")
    finite = np.isfinite(samples)
    if not finite.all():
        first = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise DataError(
            f"it holds values that are not finite: {samples[first][~finite[first]][0]} at {first / rate_hz:.3f} s, "
            f"{int((~finite).sum())} in all",
            where=name,
            mend="export it again, or leave it out",
        )
    return Sound(samples=torch.from_numpy(samples.mean(axis=1)), rate_hz=rate_hz)


def is_silent(sound: Sound) -> bool:
    """Whether there is nothing to hear: all samples are nearly equal, whatever their mean."""
    least, most = torch.aminmax(sound.samples)
    return float(most - least) < SILENT_RANGE


def _missing(data: bytes, about: str, declared: int, decoded: int) -> str:
    """What a file promises and does not hold; empty where it is whole. libsndfile itself reads what there is."""
    chunk = re.search(r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", about, re.MULTILINE)  # WAV and AIFF
    if chunk and int(chunk[2]) < int(chunk[1]) < STREAMED:
        return f"its header promises {chunk[1]} bytes of sound, {chunk[2]} are there"
    if decoded < declared:  # MP3
        return f"its header promises {declared} samples, {decoded} are there"
    if data[:4] == b"OggS":
        page = data[data.rfind(b"OggS") :]
        segments = page[OGG_HEADER_BYTES : OGG_HEADER_BYTES + page[26]] if len(page) >= OGG_HEADER_BYTES else b""
        whole = bool(segments) and len(page) >= OGG_HEADER_BYTES + len(segments) + sum(segments)
        if not whole or not page[5] & OGG_END_OF_STREAM:
            return "its last Ogg page breaks off or does not end the stream"
    return ""
