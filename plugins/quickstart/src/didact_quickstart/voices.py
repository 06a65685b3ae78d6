"""Synthetic voices: a source-filter synthesiser of vowels and diphthongs.

No speech corpus is both small enough and freely licensed for this package, so this data is generated. A glottal
pulse train (Rosenberg 1971) with vibrato and jitter, mixed with breath noise, is filtered by a cascade of formant
resonators (Klatt 1980) that glide from one vowel to another. An average spectrum does not solve the task:

- six of the ten classes are three pairs that differ only in the *order* of their vowels: "ai" and "ia" have the same
  average;
- the test speakers are not among the training speakers; the lengths of their vocal tracts scale all formants;
- every utterance has its own speed, start, loudness, microphone response, noise, and a consonant-like onset that is
  independent of the class.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

import attrs
import numpy as np
import numpy.typing as npt
import soundfile

from didact.randomness import key

Array: TypeAlias = npt.NDArray[np.float64]

SAMPLE_RATE_HZ = 8_000
SAMPLES = 4_800  # 0.6 s

# F1 to F3 of men's vowels in Hz (Peterson & Barney 1952), and F4, which is nearly constant
VOWELS = {
    "a": (730.0, 1090.0, 2440.0, 3400.0),
    "e": (530.0, 1840.0, 2480.0, 3450.0),
    "i": (270.0, 2290.0, 3010.0, 3500.0),
    "u": (300.0, 870.0, 2240.0, 3350.0),
}
BANDWIDTHS_HZ = (70.0, 100.0, 140.0, 220.0)
SYLLABLES = ("a", "e", "i", "u", "ai", "ia", "au", "ua", "iu", "ui")


@attrs.frozen(kw_only=True)
class Speaker:
    """A voice.

    Attributes:
        pitch_hz: the mean fundamental frequency.
        formant_scale: factor of all formants of `VOWELS`: the inverse of the vocal tract's relative length.
        breath: the share of noise in the source.
        held_out: whether this speaker is in the test set, and in no training set.
    """

    pitch_hz: float
    formant_scale: float
    breath: float
    held_out: bool = False


SPEAKERS = {
    "ada": Speaker(pitch_hz=210, formant_scale=1.15, breath=0.10),
    "ben": Speaker(pitch_hz=115, formant_scale=0.98, breath=0.05),
    "cleo": Speaker(pitch_hz=190, formant_scale=1.10, breath=0.20),
    "dan": Speaker(pitch_hz=98, formant_scale=0.92, breath=0.08),
    "eva": Speaker(pitch_hz=240, formant_scale=1.20, breath=0.12),
    "finn": Speaker(pitch_hz=140, formant_scale=1.03, breath=0.15),
    "gita": Speaker(pitch_hz=170, formant_scale=1.065, breath=0.07, held_out=True),
    "hugo": Speaker(pitch_hz=125, formant_scale=0.89, breath=0.16, held_out=True),
}


def write_voices(folder: Path, *, per_class: int = 15, seed: int = 0) -> None:
    """Writes ``{train,test}/{syllable}_{speaker}_{index}.wav``, 16-bit mono.

    Args:
        folder: created if it is missing.
        per_class: number of utterances of each syllable by each speaker.
        seed: seed of all random choices.
    """
    for name, speaker in SPEAKERS.items():
        split = folder / ("test" if speaker.held_out else "train")
        split.mkdir(parents=True, exist_ok=True)
        syllables = [syllable for syllable in SYLLABLES for _ in range(per_class)]
        sound = speak(syllables, speaker, generator=np.random.default_rng(key(seed, "voices", name)))
        for number, (syllable, samples) in enumerate(zip(syllables, sound, strict=True)):
            path = split / f"{syllable}_{name}_{number % per_class:02d}.wav"
            soundfile.write(path, samples, SAMPLE_RATE_HZ, subtype="PCM_16")


def speak(syllables: list[str], speaker: Speaker, *, generator: np.random.Generator) -> Array:
    """Synthesises utterances of one speaker.

    Args:
        syllables: N syllables from `SYLLABLES`.
        speaker: the speaker of all utterances.
        generator: random generator of all differences between utterances of one syllable.

    Returns:
        (N, SAMPLES) float64 sound pressure between -1 and 1.
    """
    n = len(syllables)
    seconds = np.arange(SAMPLES)[:, None] / SAMPLE_RATE_HZ  # (S, 1): time is the first axis throughout
    start = generator.uniform(0.03, 0.12, n)
    length = generator.uniform(0.34, 0.46, n)
    through = (seconds - start) / length  # (S, N): 0 where the syllable starts, 1 where it ends
    envelope = _ramp(through, 0.0, 0.12) * (1 - _ramp(through, 0.78, 1.0))

    pitch = speaker.pitch_hz * generator.uniform(0.88, 1.12, n) * (1 + generator.uniform(-0.25, 0.05, n) * through)
    breath = generator.standard_normal((SAMPLES, n))
    source = _glottal_pulses(pitch, seconds, generator) + speaker.breath * breath
    sound = envelope * source
    for formant, bandwidth_hz in zip(_formants(syllables, speaker, through, generator), BANDWIDTHS_HZ, strict=True):
        sound = _resonate(sound, formant, bandwidth_hz)
    sound = _scale(sound) + _onsets(seconds - start, generator)
    return _record(sound, generator).T


def _glottal_pulses(pitch_hz: Array, seconds: Array, generator: np.random.Generator) -> Array:
    """The derivative of Rosenberg's glottal flow at a pitch (S, N), with vibrato and jitter."""
    s, n = len(pitch_hz), len(pitch_hz[0])
    vibrato = 0.015 * np.sin(2 * np.pi * (generator.uniform(4, 7, n) * seconds + generator.uniform(0, 1, n)))
    knots = generator.standard_normal((s // 80 + 2, n)) * 0.012  # jitter: a new deviation every 10 ms
    jitter = _between_knots(knots, s)
    phase = np.cumsum(pitch_hz * (1 + vibrato + jitter) / SAMPLE_RATE_HZ, axis=0) + generator.uniform(0, 1, n)
    phase -= np.floor(phase)
    opening = 0.5 * (1 - np.cos(np.pi * np.minimum(phase, 0.4) / 0.4))
    closing = np.cos(0.5 * np.pi * np.clip((phase - 0.4) / 0.16, 0, 1))
    flow = opening * closing  # (S, N): rises over 40 % of a period, falls over 16 %, then the glottis is closed
    return np.diff(flow, axis=0, prepend=flow[:1])


def _formants(syllables: list[str], speaker: Speaker, through: Array, generator: np.random.Generator) -> list[Array]:
    """Computes each formant's frequency in Hz over time, (S, N), as a glide from the first vowel to the last."""
    n = len(syllables)
    middle, width = generator.uniform(0.38, 0.62, n), generator.uniform(0.10, 0.25, n)
    glide = _ramp(through, middle - width, middle + width)  # (S, N)
    tracks = []
    for number in range(len(BANDWIDTHS_HZ)):
        first, last = (
            np.array([VOWELS[syllable[end]][number] for syllable in syllables]) * generator.normal(1, 0.04, n)
            for end in (0, -1)
        )
        track = (first + (last - first) * glide) * speaker.formant_scale
        tracks.append(np.minimum(track, 0.48 * SAMPLE_RATE_HZ))
    return tracks


def _resonate(sound: Array, formant_hz: Array, bandwidth_hz: float) -> Array:
    """Applies Klatt's second-order resonator with a formant frequency for each sample; both arrays are (S, N)."""
    radius = math.exp(-math.pi * bandwidth_hz / SAMPLE_RATE_HZ)
    back = 2 * radius * np.cos(2 * np.pi * formant_hz / SAMPLE_RATE_HZ)  # (S, N)
    gain = 1 - back + radius**2  # unit gain at 0 Hz, as in a cascade
    driven = gain * sound
    before = before_that = np.zeros(sound.shape[1])
    for sample in range(len(driven)):  # a recursion over time, for all N utterances at once
        before, before_that = driven[sample] + back[sample] * before - radius**2 * before_that, before
        driven[sample] = before
    return driven


def _onsets(since: Array, generator: np.random.Generator) -> Array:
    """Generates consonant-like bursts of coloured noise at the starts of about three in four syllables.

    Args:
        since: (S, N) seconds since the syllable's start.
    """
    s, n = len(since), len(since[0])
    before = generator.uniform(0.0, 0.06, n)
    decay = generator.uniform(0.008, 0.03, n)
    shape = np.where(since > -before, np.exp(-np.maximum(since, 0) / decay), 0)
    centre = np.broadcast_to(generator.uniform(800, 3_600, n), (s, n))
    noise = _scale(_resonate(generator.standard_normal((s, n)), centre, 600.0))
    loudness = generator.uniform(0.3, 1.2, n) * (generator.uniform(0, 1, n) > 0.25)
    return loudness * shape * noise


def _record(sound: Array, generator: np.random.Generator) -> Array:
    """Sound (S, N) as recorded by a poor microphone in a room: filtered, with filtered noise, at a random level."""
    s, n = len(sound), len(sound[0])
    sound = _scale(_tilt(sound, generator.uniform(-0.5, 0.7, n)))
    noise = _scale(_tilt(generator.standard_normal((s, n)), generator.uniform(-0.6, 0.9, n)))
    signal_to_noise_db = generator.uniform(4, 18, n)
    noisy = _scale(sound + noise * 10 ** (-signal_to_noise_db / 20))
    loudness = 10 ** (generator.uniform(-12, 0, n) / 20)
    return np.clip(0.12 * loudness * noisy, -1, 1)  # -18 dB full scale at the loudest leaves headroom for the peaks


def _tilt(sound: Array, pole: Array) -> Array:
    """A one-pole filter: darker for poles above 0, brighter below. Sound is (S, N), the pole (N,)."""
    tilted = sound.copy()
    for sample in range(1, len(tilted)):
        tilted[sample] += pole * tilted[sample - 1]
    return tilted


def _between_knots(knots: Array, s: int) -> Array:
    """Linear interpolation of knots (K, N), one every 80 samples, at S samples: (S, N)."""
    sample = np.arange(s)
    weight = (sample % 80)[:, None] / 80  # (S, 1)
    return (1 - weight) * knots[sample // 80] + weight * knots[sample // 80 + 1]


def _ramp(values: Array, low: Array | float, high: Array | float) -> Array:
    """A smooth step: 0 below ``low``, 1 above ``high``."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def _scale(sound: Array) -> Array:
    """Sound (S, N) scaled to a root mean square of 1 over time."""
    root_mean_square: Array = np.sqrt((sound**2).mean(0))  # (N,)
    return sound / (root_mean_square + 1e-6)
