"""The filter bank against torchaudio, its layout, and the receptive field of a frame."""

import pytest
import torch
import torch.nn.functional as F
import torchaudio
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from didact import Layout, Signal, SpecError, View, collate
from didact.randomness import generator
from didact_speech import ConvWaveform, MelFilterbank
from didact_speech.frames import FrameEncoder
from didact_text import TokenMasker

SOUND = Signal(kind="waveform", axes=(None,), rate_hz=16_000)
SMALL = MelFilterbank(width=16, bands=12, window=40, hop=16, joined=2, position_groups=4)
CONVOLUTIONS = ConvWaveform(width=16, channels=12, layers=((8, 8), (4, 4)), position_groups=4)


def log_mel(spec: MelFilterbank, waveforms: Tensor) -> Tensor:
    bank: Tensor = spec.build(SOUND).double().log_mel(waveforms)
    return bank


def test_the_bank_is_the_logarithm_of_torchaudios_mel_spectrogram() -> None:
    spec = MelFilterbank(bands=80, mean=0.0, deviation=1.0)
    waveforms = torch.randn(2, 8_000, dtype=torch.float64)
    fft = 1024
    theirs = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=fft, win_length=spec.window, hop_length=spec.hop, n_mels=spec.bands, center=False
    ).double()
    edge = (fft - spec.window) // 2  # theirs puts the window in the middle of the transform's length
    expected = theirs(F.pad(waveforms, (edge, edge))).mT / torch.hann_window(400, dtype=torch.float64).square().sum()
    weights = theirs.mel_scale.fb.sum(0)
    ours = log_mel(spec, waveforms)
    assert ours.shape == (2, spec.layout((8_000,)).positions, 80)
    torch.testing.assert_close(ours, torch.log(expected / weights + 1e-6), rtol=0, atol=1e-5)


def test_white_noise_of_unit_variance_has_power_one_in_every_band() -> None:
    spec = MelFilterbank(bands=40, mean=0.0, deviation=1.0)
    power = log_mel(spec, torch.randn(1, 800_000, dtype=torch.float64)).exp().mean(1)
    torch.testing.assert_close(power[:, 2:], torch.ones(1, 38, dtype=torch.float64), rtol=0.05, atol=0)


def test_the_mean_and_the_deviation_are_taken_off() -> None:
    waveforms = torch.randn(1, 4_000, dtype=torch.float64)
    plain = log_mel(SMALL.evolve(mean=0.0, deviation=1.0), waveforms)
    torch.testing.assert_close(log_mel(SMALL.evolve(mean=-4.0, deviation=2.0), waveforms), (plain + 4) / 2)


@given(st.integers(SMALL.receptive_field, 600))
def test_the_layout_is_what_the_bank_gives(samples: int) -> None:
    view = collate([torch.randn(samples)], SMALL)
    embedded = SMALL.build(SOUND).embed(view)
    assert embedded.features.shape == (1, SMALL.layout((samples,)).positions, SMALL.width)


def test_by_default_a_frame_is_10_ms_and_hears_25() -> None:
    assert MelFilterbank().layout((16_000,)) == Layout((98,))
    assert (MelFilterbank().stride, MelFilterbank().receptive_field) == (160, 400)
    assert (MelFilterbank(joined=2).stride, MelFilterbank(joined=2).receptive_field) == (320, 560)


def test_a_position_hears_its_own_window_and_nothing_else() -> None:
    waveforms = torch.randn(1, 600, dtype=torch.float64)
    before = log_mel(SMALL, waveforms)
    waveforms[:, 200] += 1
    changed = (log_mel(SMALL, waveforms) != before).any(-1)[0].nonzero().flatten().tolist()
    heard = [i for i in range(before.shape[1]) if i * SMALL.stride < 200 < i * SMALL.stride + SMALL.receptive_field]
    assert changed == heard


@pytest.mark.parametrize("spec", [SMALL, CONVOLUTIONS], ids=["filterbank", "convolutions"])
def test_a_sample_whose_frames_are_replaced_is_the_same_beside_a_longer_one(spec: FrameEncoder) -> None:
    encoder = spec.build(SOUND).eval()
    contents = [torch.randn(1_176), torch.randn(2_500)]  # the first has 36 positions
    masker = TokenMasker(probability=0.5, random=1.0, keep=0.0)

    def placed(contents: list[Tensor]) -> Tensor:
        view = collate(contents, spec, masker, [generator(seed, "mask") for seed in range(len(contents))])
        assert view.mask is not None
        assert view.mask.replaced is not None
        assert view.mask.replaced[0].sum() == 18
        with torch.no_grad():
            features: Tensor = encoder.place(encoder.embed(view), view.mask).features
        return features[0]

    alone, together = placed(contents[:1]), placed(contents)
    assert len(alone) == 36 < len(together)
    torch.testing.assert_close(together[:36], alone)


def test_autocast_does_not_reach_the_powers() -> None:
    bank, waveforms = SMALL.build(SOUND), torch.randn(1, 600)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = bank.log_mel(waveforms)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, bank.log_mel(waveforms))


def test_silence_is_finite_and_only_the_projection_and_the_positions_learn() -> None:
    bank = SMALL.build(SOUND)
    tokens = bank.place(bank.embed(View(content=torch.zeros(1, 600), layout=SMALL.layout((600,)))), None)
    assert tokens.features.isfinite().all()
    tokens.features.square().sum().backward()
    learned = {name.split(".")[0] for name, weight in bank.named_parameters() if weight.grad is not None}
    assert learned == {"projection", "positions"}


def test_a_sound_too_short_for_a_position_is_an_error_that_says_how_long_it_must_be() -> None:
    with pytest.raises(SpecError, match=r"55 samples.*MelFilterbank sees 56 at a time"):
        SMALL.layout((55,))


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (Signal(kind="image", axes=(3, 32, 32)), "MelFilterbank reads mono waveforms, but the source gives image"),
        (Signal(kind="waveform", axes=(None,)), "MelFilterbank needs the sample rate"),
    ],
)
def test_a_signal_that_it_cannot_read_is_an_error_that_says_so(signal: Signal, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        SMALL.build(signal)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bands": 0}, "MelFilterbank.bands"),
        ({"window": 1}, "MelFilterbank.window"),
        ({"hop": 401}, "MelFilterbank.hop must be from 1 to the window, 400"),
        ({"joined": 0}, "MelFilterbank.joined"),
        ({"deviation": 0.0}, "MelFilterbank.deviation must be above 0"),
        ({"width": 100}, "MelFilterbank.position_groups must be a divisor of the width, 100"),
    ],
)
def test_a_field_out_of_range_is_told(fields: dict[str, float], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        MelFilterbank(**fields)
