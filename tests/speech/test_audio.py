"""Audio files: supported files, and the faults of the others."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from didact import DataError, SpecError
from didact_speech import AudioMedium
from didact_speech.audio import decode_samples

Tone, Encode = Callable[..., np.ndarray], Callable[..., bytes]

FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
]


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_every_format_is_taken_as_it_is_with_its_length(format: str, subtype: str, encode: Encode, tone: Tone) -> None:
    data = encode(tone(0.75), format=format, subtype=subtype)
    (record,) = AudioMedium().records(data, "tone", {})
    assert record.data == data
    assert record.length == pytest.approx(0.75, abs=1e-9)
    assert f"tone  0.75 seconds  16000 Hz mono {format} {subtype}" == AudioMedium().describe(record)


@pytest.mark.parametrize(("format", "subtype"), FORMATS[:-1])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_refused(format: str, subtype: str, share: float, encode: Encode, tone: Tone) -> None:
    data = encode(tone(2.0), format=format, subtype=subtype)
    with pytest.raises(DataError, match=r"truncated|cannot be decoded") as caught:
        AudioMedium().records(data[: int(len(data) * share)], "part.wav", {})
    assert caught.value.where == "part.wav"


def test_a_truncated_wav_says_what_is_missing(encode: Encode, tone: Tone) -> None:
    data = encode(tone(1.0))
    with pytest.raises(DataError, match="its header declares 32000 bytes of audio, and it has 19956"):
        decode_samples(data[:20_000], "part.wav")


def test_a_wav_from_a_pipe_that_does_not_know_its_size_is_taken(encode: Encode, tone: Tone) -> None:
    data = bytearray(encode(tone(1.0)))
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", 0xFFFFFFFF)
    assert len(decode_samples(bytes(data), "pipe.wav")[0]) == 16_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_place(value: float, encode: Encode, tone: Tone) -> None:
    samples = tone(1.0)
    samples[[4_000, 9_000]] = value
    with pytest.raises(DataError, match=r"it has 2 values that are not finite; the first is (nan|inf|-inf) at 0.250 s"):
        AudioMedium().records(encode(samples, subtype="FLOAT"), "bad.wav", {})


def test_a_file_of_length_0_is_refused(encode: Encode) -> None:
    with pytest.raises(DataError, match="it has no samples"):
        AudioMedium().records(encode(np.zeros(0, dtype=np.float32)), "empty.wav", {})


@pytest.mark.parametrize("data", [b"", b"RIFF", b"no sound at all" * 100])
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="cannot be decoded"):
        AudioMedium().records(data, "noise.wav", {})


@pytest.mark.parametrize(
    ("format", "subtype", "level"),
    [(*kind, 0.0) for kind in FORMATS] + [("WAV", "PCM_16", 0.25), ("FLAC", "PCM_16", 0.25)],
)
def test_silence_is_data_and_suspect(format: str, subtype: str, level: float, encode: Encode) -> None:
    data = encode(np.full(8_000, level, dtype=np.float32), format=format, subtype=subtype)
    (record,) = AudioMedium().records(data, "silence", {})
    assert record.length == pytest.approx(0.5)
    assert record.suspect == "silent"


@pytest.mark.parametrize(("peak", "suspect"), [(9e-5, "silent"), (2e-4, ""), (0.5, "")])
def test_what_is_too_soft_to_be_meant_is_silent(peak: float, suspect: str, encode: Encode) -> None:
    samples = np.sin(np.arange(8_000) / 5).astype(np.float32) * peak
    (record,) = AudioMedium().records(encode(samples, subtype="FLOAT"), "soft.wav", {})
    assert record.suspect == suspect


def test_channels_that_cancel_each_other_are_silent(encode: Encode, tone: Tone) -> None:
    (record,) = AudioMedium().records(encode(np.stack([tone(0.5), -tone(0.5)], axis=1), subtype="FLOAT"), "two", {})
    assert record.suspect == "silent"


def test_channels_are_averaged(encode: Encode, tone: Tone) -> None:
    stereo = np.stack([tone(0.5), tone(0.5, hz=300.0)], axis=1)
    assert np.allclose(decode_samples(encode(stereo, subtype="FLOAT"), "stereo")[0], stereo.mean(1))


def test_a_decoded_file_equals_what_soundfile_reads(encode: Encode, tone: Tone) -> None:
    data = encode(tone(0.5), rate_hz=8_000)
    samples, rate_hz = decode_samples(data, "tone")
    assert np.array_equal(samples, soundfile.read(io.BytesIO(data), dtype="float32")[0])
    assert rate_hz == 8_000


def test_an_option_that_audio_does_not_have_is_refused() -> None:
    with pytest.raises(SpecError, match="`didact ingest audio` has no option 'split'; it has none"):
        AudioMedium().check_options({"split": "line"})
