"""Audio from a store, in training and in evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from didact import DataError, Signal, SpecError
from didact.randomness import generator
from didact_speech import Waveforms
from didact_stores.store import Store

Tone, Encode = Callable[..., np.ndarray], Callable[..., bytes]


@pytest.fixture
def store(make_store: Callable[[list[tuple[bytes, Mapping[str, str]]]], str], encode: Encode, tone: Tone) -> str:
    return make_store(
        [
            (encode(tone(0.3)), {"label": "low", "speaker": "ann"}),
            (encode(tone(1.0, hz=800, offset=0.2)), {"label": "high", "speaker": "bob"}),
            (encode(tone(0.5, rate_hz=8_000), rate_hz=8_000), {"label": "low", "speaker": "bob"}),
            (encode(tone(2.5)), {"label": "low", "speaker": "cid"}),
        ]
    )


def test_lengths_are_capped_and_short_samples_left_out(store: str) -> None:
    samples = Waveforms(store=store, min_seconds=0.4, max_seconds=2.0).open()
    assert samples.lengths.tolist() == [1.0, 0.5, 2.0]
    assert [samples.classes[label] for label in samples.labels] == ["high", "low", "low"]
    assert [samples.name(index) for index in range(3)] == ["1.wav", "2.wav", "3.wav"]
    assert [samples.record(index).length for index in range(3)] == [1.0, 0.5, 2.5]
    assert [samples.place(index) for index in range(3)] == samples.places.tolist() == [1, 2, 3]
    assert len(samples) == 3


def test_what_is_left_out_changes_the_fingerprint(store: str) -> None:
    everything, same, fewer = (
        Waveforms(store=store, min_seconds=seconds).open().fingerprint for seconds in (None, 0.3, 0.4)
    )
    assert everything == same
    assert everything != fewer
    assert Waveforms(store=store, min_seconds=0.4).open().fingerprint == fewer


def test_what_is_left_out_by_a_condition_and_by_its_length_add_up(store: str) -> None:
    samples = Waveforms(store=store, min_seconds=0.6, where="speaker == bob").open()
    assert [samples.name(index) for index in range(len(samples))] == ["1.wav"]
    assert samples.places.tolist() == [1]


def test_the_same_samples_have_the_same_fingerprint_however_they_were_chosen(store: str) -> None:
    one, other, all_but_one = (
        Waveforms(store=store, min_seconds=seconds, where=where).open().fingerprint
        for seconds, where in ((0.6, "speaker == bob"), (0.6, "speaker  ==  bob"), (0.4, None))
    )
    assert one == other != all_but_one
    assert Waveforms(store=store, min_seconds=None, where="speaker != ann").open().fingerprint == all_but_one


def test_nothing_is_left_out_or_cut_where_no_limits_are_set(store: str) -> None:
    samples = Waveforms(store=store, min_seconds=None, max_seconds=None).open()
    assert samples.lengths.tolist() == [0.3, 1.0, 0.5, 2.5]
    assert samples.content(3).shape == (40_000,)


def test_a_limit_that_leaves_nothing_is_an_error_with_the_longest_sample(store: str) -> None:
    with pytest.raises(DataError, match=r"all 4 samples are shorter than 3 seconds; the longest has 2.5"):
        Waveforms(store=store, min_seconds=3.0).open()


def test_a_store_of_another_kind_is_refused(store: str) -> None:
    with pytest.raises(DataError, match="holds audio, not images"):
        Store.open(store, "images")


def test_a_view_is_a_random_stretch_of_the_normalised_whole(store: str) -> None:
    samples = Waveforms(store=store, min_seconds=None, max_seconds=None).open()
    whole = samples.content(3)
    starts = set()
    for seed in range(20):
        (view,) = samples.views(3, length=0.3, generator=generator(seed, "view"))
        assert view.shape == (4_800,)
        (start,) = (whole.unfold(0, 4_800, 1)[:, :8] == view[:8]).all(1).nonzero()[:, 0].tolist()
        assert torch.equal(view, whole[start : start + 4_800])
        starts.add(start)
    assert len(starts) > 15
    assert max(starts) - min(starts) > 15_000
    first, again = (samples.views(3, length=0.3, generator=generator(7, "view"))[0] for _ in range(2))
    assert torch.equal(first, again)


def test_a_view_of_a_sample_is_at_most_max_seconds_long(store: str) -> None:
    samples = Waveforms(store=store, max_seconds=2.0, min_seconds=None).open()
    assert samples.views(3, length=None, generator=generator(0, "view"))[0].shape == (32_000,)
    assert samples.views(0, length=None, generator=generator(0, "view"))[0].shape == (4_800,)


def test_the_whole_file_has_zero_mean_and_unit_variance_before_it_is_cut(store: str) -> None:
    normalized = Waveforms(store=store, min_seconds=None, max_seconds=None).open().content(1)
    assert normalized.mean().item() == pytest.approx(0, abs=1e-4)
    assert normalized.var(correction=0).item() == pytest.approx(1, abs=1e-3)
    cut = Waveforms(store=store, min_seconds=None, max_seconds=0.25).open().content(1)
    assert torch.equal(cut, normalized[:4_000])
    plain = Waveforms(store=store, min_seconds=None, normalize=False).open().content(1)
    assert plain.mean().item() == pytest.approx(0.2, abs=0.01)


def test_a_file_of_another_rate_is_resampled(store: str) -> None:
    up = Waveforms(store=store, min_seconds=None, normalize=False).open().content(2)
    expected = torch.from_numpy(0.3 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 16_000)).float()
    assert up.shape == (8_000,)
    assert torch.nn.functional.cosine_similarity(up, expected, dim=0) > 0.95
    down = Waveforms(store=store, min_seconds=None, sample_rate_hz=8_000).open()
    assert [len(down.content(index)) for index in range(4)] == [2_400, 8_000, 4_000, 20_000]


def test_every_sample_of_a_batch_can_be_cut_to_its_shortest_at_any_rate(store: str) -> None:
    for rate_hz in (8_000, 11_025, 16_000, 22_050):
        samples = Waveforms(store=store, sample_rate_hz=rate_hz, min_seconds=None).open()
        shortest = float(samples.lengths.min())
        views = [samples.views(index, length=shortest, generator=generator(0, "view"))[0] for index in range(4)]
        assert {view.shape for view in views} == {(round(0.3 * rate_hz),)}


def test_the_signal_names_its_rate(store: str) -> None:
    assert Waveforms(store=store, sample_rate_hz=8_000).signal() == Signal(kind="waveform", axes=(None,), rate_hz=8_000)


def test_raw_features_are_means_and_deviations_of_log_mel_bands(store: str) -> None:
    source = Waveforms(store=store, min_seconds=None)
    low, high = source.open().content(0), source.open().content(1)
    features = torch.stack([source.raw_features(low), source.raw_features(high)])
    assert features.shape == (2, 80)
    assert features[0, :40].argmax() < features[1, :40].argmax()  # 440 Hz lies below 800 Hz
    assert torch.isfinite(source.raw_features(low[:50])).all()
    halves = torch.cat([low, torch.zeros_like(low)])  # sound, then silence: the mean falls, the deviation rises
    assert (source.raw_features(halves)[40:] > features[0, 40:]).all()


def test_a_sound_is_the_waveform_at_full_scale(store: str) -> None:
    source = Waveforms(store=store, min_seconds=None)
    content = source.open().content(1)
    samples, rate_hz = source.audio(content)
    assert rate_hz == 16_000
    assert float(samples.abs().max()) == 1
    torch.testing.assert_close(samples, content / content.abs().max())
    assert torch.equal(source.audio(torch.zeros(9))[0], torch.zeros(9))  # silence stays silent


def test_an_image_shows_low_bands_at_the_bottom(store: str) -> None:
    source = Waveforms(store=store, min_seconds=None)
    picture = source.image(source.open().content(1))
    assert (picture.shape, picture.dtype) == ((80, 101, 3), torch.uint8)
    brightest = picture.float().sum(2).mean(1).argmax().item()
    assert 40 < brightest < 70  # 800 Hz is the 28th of 80 mel bands to 8 kHz, counted from below
    silent = source.image(torch.zeros(4_000))
    assert silent.unique(dim=0).shape[0] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate_hz": 0}, "sample_rate_hz must be at least 1"),
        ({"max_seconds": 0.0}, "max_seconds must be above 0"),
        ({"min_seconds": -1.0}, "min_seconds must be at least 0"),
        ({"min_seconds": 3.0, "max_seconds": 2.0}, r"min_seconds must be at most max_seconds \(2.0\)"),
    ],
)
def test_settings_out_of_range_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Waveforms(**{"store": "any", **change})


@pytest.mark.parametrize("rate_hz", [16_000, 8_000])
def test_one_file_is_read_as_its_sample_is(make_store, tone, encode, rate_hz):
    files = [encode(tone(seconds, 16_000)) for seconds in (0.5, 1.5, 3.0)]
    store = make_store([(data, {}) for data in files])
    source = Waveforms(store=store, sample_rate_hz=rate_hz, min_seconds=1.0, max_seconds=2.0)
    samples = source.open()
    assert len(samples) == 2
    for index, data in enumerate(files[1:]):
        assert torch.equal(source.read(data, "one.wav"), samples.content(index))
    whole = source.whole()
    assert [len(whole.read(data, "one.wav")) for data in files] == [rate_hz // 2, 3 * rate_hz // 2, 3 * rate_hz]
    everything = whole.open()
    assert [torch.equal(whole.read(data, ""), everything.content(index)) for index, data in enumerate(files)] == [
        True
    ] * 3
