"""The synthetic voices: they are reproducible, and as difficult as documented."""

import numpy as np
import pytest
import soundfile

from didact_quickstart.voices import SAMPLE_RATE_HZ, SAMPLES, SPEAKERS, SYLLABLES, Speaker, speak, write_voices


def spectrum(sound):
    return np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2


def log_spectra(sound, frames=12):
    """Each utterance (N, S) as the logarithm of 16 broad bands in each of ``frames`` stretches: (N, frames, 16)."""
    stretches = sound.reshape(len(sound), frames, -1)
    power = np.abs(np.fft.rfft(stretches * np.hanning(stretches.shape[-1]), axis=-1)) ** 2
    bands = np.array_split(power, 16, axis=-1)
    return np.log(np.stack([band.mean(-1) for band in bands], -1) + 1e-9)


def accuracy_of_held_out_speakers(features, labels, held_out):
    """Of a linear discriminant on standardised features."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features[~held_out], labels[~held_out])
    return model.score(features[held_out], labels[held_out])


@pytest.fixture(scope="module")
def corpus():
    """Ten utterances of every syllable by each speaker: sound (N, S), labels (N,), held_out (N,)."""
    sound, labels, held_out = [], [], []
    for number, speaker in enumerate(SPEAKERS.values()):
        syllables = [syllable for syllable in SYLLABLES for _ in range(10)]
        sound.append(speak(syllables, speaker, generator=np.random.default_rng(number)))
        labels += syllables
        held_out += [speaker.held_out] * len(syllables)
    return np.concatenate(sound), np.array(labels), np.array(held_out)


def test_the_same_seed_gives_the_same_sound_and_another_seed_another():
    speaker = SPEAKERS["ada"]
    once, again, other = (speak(["ai", "u"], speaker, generator=np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(once, again)
    assert not np.allclose(once, other)


def test_sound_is_finite_and_loud_enough_and_hardly_ever_clips(corpus):
    sound, _, _ = corpus
    assert sound.shape[1] == SAMPLES
    assert np.isfinite(sound).all()
    assert np.sqrt((sound**2).mean(1)).min() > 0.01
    assert (np.abs(sound) >= 1).mean() < 1e-4


def test_two_utterances_of_a_syllable_differ(corpus):
    sound, labels, _ = corpus
    same = sound[labels == "ai"][:10]
    correlation = np.corrcoef(same) - np.eye(len(same))
    assert np.abs(correlation).max() < 0.5


@pytest.mark.parametrize(
    ("vowel", "formants_hz", "between_hz"),
    [("a", (650, 1150), (1500, 2000)), ("i", (2100, 2500), (900, 1500)), ("u", (220, 400), (1300, 1800))],
)
def test_a_vowels_energy_lies_at_its_formants(vowel, formants_hz, between_hz):
    """Twenty utterances by a speaker of average tract, the noise averaged out."""
    speaker = Speaker(pitch_hz=110, formant_scale=1.0, breath=0.05)
    sound = speak([vowel] * 20, speaker, generator=np.random.default_rng(0))
    power = np.mean([spectrum(one) for one in sound], axis=0)
    hz = np.fft.rfftfreq(SAMPLES, 1 / SAMPLE_RATE_HZ)
    peak, valley = (power[(hz > low) & (hz < high)].mean() for low, high in (formants_hz, between_hz))
    assert peak > 3 * valley


def test_a_longer_tract_lowers_the_formants():
    centroids = []
    for scale in (0.85, 1.2):
        speaker = Speaker(pitch_hz=150, formant_scale=scale, breath=0.05)
        sound = speak(["a"] * 20, speaker, generator=np.random.default_rng(0))
        hz = np.fft.rfftfreq(SAMPLES, 1 / SAMPLE_RATE_HZ)
        power = np.mean([spectrum(one) for one in sound], axis=0)
        band = (hz > 400) & (hz < 1800)
        centroids.append((hz * power)[band].sum() / power[band].sum())
    assert centroids[0] < centroids[1] - 100


def test_syllables_can_be_told_from_spectra_over_time_even_of_strangers(corpus):
    sound, labels, held_out = corpus
    assert accuracy_of_held_out_speakers(log_spectra(sound).reshape(len(sound), -1), labels, held_out) > 0.8


def test_average_spectra_do_not_tell_syllables_that_differ_by_order(corpus):
    sound, labels, held_out = corpus
    average = log_spectra(sound).mean(1)
    pair = np.isin(labels, ["ai", "ia"]) | np.isin(labels, ["iu", "ui"]) | np.isin(labels, ["au", "ua"])
    first = np.isin(labels, ["ai", "au", "iu"])
    assert accuracy_of_held_out_speakers(average[pair], first[pair], held_out[pair]) < 0.7
    assert accuracy_of_held_out_speakers(average, labels, held_out) < 0.75


def test_files_are_named_by_syllable_and_speaker_and_hold_strangers_apart(tmp_path):
    write_voices(tmp_path, per_class=1)
    train, test = (sorted((tmp_path / split).glob("*.wav")) for split in ("train", "test"))
    strangers = {name for name, speaker in SPEAKERS.items() if speaker.held_out}
    assert {path.name.split("_")[1] for path in test} == strangers
    assert {path.name.split("_")[1] for path in train} == set(SPEAKERS) - strangers
    for split in (train, test):
        assert {path.name.split("_")[0] for path in split} == set(SYLLABLES)
    info = soundfile.info(train[0])
    assert (info.samplerate, info.frames, info.channels, info.subtype) == (SAMPLE_RATE_HZ, SAMPLES, 1, "PCM_16")


def test_strangers_tracts_are_none_of_those_learned_from():
    known = {speaker.formant_scale for speaker in SPEAKERS.values() if not speaker.held_out}
    assert not known & {speaker.formant_scale for speaker in SPEAKERS.values() if speaker.held_out}
