"""Target features of audio against Kaldi's coefficients and the definition of differences; earlier runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from didact import (
    AdamW,
    Batch,
    BatchSize,
    Constant,
    Experiment,
    FeatureEncoder,
    HiddenState,
    Network,
    RunError,
    Signal,
    Source,
    SpecError,
    Training,
    View,
)
from didact.building import build_learner, build_network
from didact.loading import collate
from didact.record import RunRecord
from didact.run import start
from didact_distill import LatentRegression
from didact_kit import (
    NoiseSource,
    TinyBackbone,
    TinyEncoder,
    TinyMasker,
    TinyObjective,
    TinySource,
    TinyTargets,
    tiny_batch,
    tiny_network,
)
from didact_kit.tiny import passes_batch
from didact_masked import MFCC, EarlierLayer, FeatureTargets
from didact_speech import ConvWaveform, MelFilterbank
from didact_vision import Patches

LAYERS_8_KHZ = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2))  # 160 samples from one to the next: 20 ms


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# ── MFCC ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

PLAIN: dict[str, int] = {"width": 8, "position_depth": 0, "position_groups": 2}
# encoder, samples per second, and how many of Kaldi's frames, 10 ms each, there are to a position
ENCODERS = {
    "convolutions at 16 kHz": (ConvWaveform(**PLAIN, channels=2), 16_000, 2),
    "convolutions at 8 kHz": (ConvWaveform(**PLAIN, channels=2, layers=LAYERS_8_KHZ), 8_000, 2),
    "bands at 16 kHz": (MelFilterbank(**PLAIN, bands=4), 16_000, 1),
    "bands at 8 kHz": (MelFilterbank(**PLAIN, bands=4, window=200, hop=80), 8_000, 1),
    "joined bands at 16 kHz": (MelFilterbank(**PLAIN, bands=4, joined=2), 16_000, 2),
    "slow convolutions at 8 kHz": (ConvWaveform(**PLAIN, channels=2), 8_000, 4),
}


def network_of(encoder: FeatureEncoder, signal: Signal) -> Network:
    return Network(encoder.build(signal), TinyBackbone(depth=1).build(encoder.width, None), signal, None)


def sound(rate_hz: int, seed: int, length: int) -> Tensor:
    """Noise with a tone in it, (S,)."""
    noise = torch.randn(length, generator=torch.Generator().manual_seed(seed))
    return noise + torch.sin(torch.arange(length) * (2 * torch.pi * (200 + 50 * seed) / rate_hz))


def differences(values: Tensor) -> Tensor:
    """The slope of a line through five frames, (T, C) to (T, C); the first and the last stand beyond the ends."""
    last = len(values) - 1
    rows = [
        sum(n * (values[min(t + n, last)] - values[max(t - n, 0)]) for n in (1, 2)) / (2 * (1 + 4))
        for t in range(len(values))
    ]
    return torch.stack(rows)


def by_hand(waveform: Tensor, rate_hz: int, coefficients: int = 13) -> Tensor:
    """All of a lone waveform's frames: (T', 3 · coefficients)."""
    kaldi = torchaudio.compliance.kaldi
    statics = kaldi.mfcc(waveform[None], sample_frequency=rate_hz, num_ceps=coefficients, use_energy=False)
    deltas = differences(statics)
    return torch.cat([statics, deltas, differences(deltas)], 1)


@pytest.fixture(params=ENCODERS.values(), ids=list(ENCODERS))
def heard(request):
    """An encoder, the rate of its waveforms, frames to a position, and the MFCCs beside it."""
    encoder, rate_hz, frames = request.param
    return encoder, rate_hz, frames, described_by(encoder, rate_hz)


def described_by(encoder: FeatureEncoder, rate_hz: int, coefficients: int = 13):
    spec = MFCC(coefficients=coefficients)
    return spec.build(network_of(encoder, Signal(kind="waveform", axes=(None,), rate_hz=rate_hz)))


def test_a_lone_samples_mfccs_are_kaldis_with_their_differences_at_the_frames_of_its_positions(heard):
    encoder, rate_hz, frames, module = heard
    waveform = sound(rate_hz, 0, rate_hz // 2 + 57)
    view = collate([waveform], encoder)
    found = module(view)
    assert found.shape == (1, view.layout.positions, 39)
    assert module.width == 39
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found[0], by_hand(waveform, rate_hz)[::frames][: view.layout.positions], atol=1e-4, rtol=1e-4
    )


def test_behind_wav2vec_2s_convolutions_every_second_frame_is_a_positions():
    encoder, rate_hz, _ = ENCODERS["convolutions at 16 kHz"]
    waveform = sound(rate_hz, 1, 16_000)
    frames = by_hand(waveform, rate_hz)
    assert frames.shape == (98, 39)
    found = described_by(encoder, rate_hz)(collate([waveform], encoder))[0]
    assert found.shape == (49, 39)
    torch.testing.assert_close(found, frames[0:98:2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("coefficients", [1, 23])
def test_as_many_coefficients_as_are_asked_for(coefficients):
    encoder, rate_hz, _ = ENCODERS["convolutions at 16 kHz"]
    waveform = sound(rate_hz, 2, 4_000)
    module = described_by(encoder, rate_hz, coefficients)
    found = module(collate([waveform], encoder))[0]
    assert found.shape == (12, module.width) == (12, 3 * coefficients)
    torch.testing.assert_close(found, by_hand(waveform, rate_hz, coefficients)[:24:2], atol=1e-4, rtol=1e-4)


def shortest(encoder: FeatureEncoder) -> int:
    """The fewest samples that give a position."""
    assert encoder.layout((encoder.receptive_field,)).positions == 1
    with pytest.raises(SpecError):
        encoder.layout((encoder.receptive_field - 1,))
    return encoder.receptive_field


def lengths_of(encoder: FeatureEncoder) -> st.SearchStrategy[int]:
    """From the shortest to some twenty positions, close to where another position begins more often than not."""
    near = st.builds(
        lambda positions, more: positions * encoder.stride + more,
        st.integers(0, 20),
        st.integers(0, encoder.stride - 1),
    )
    at_an_edge = st.builds(
        lambda positions, more: max(0, positions * encoder.stride + more), st.integers(0, 20), st.integers(-2, 2)
    )
    return st.one_of(near, at_an_edge).map(lambda more: shortest(encoder) + more)


@settings(max_examples=20)
@given(data=st.data())
@pytest.mark.parametrize("name", list(ENCODERS))
def test_a_samples_mfccs_are_the_same_alone_and_beside_longer_ones(name, data):
    encoder, rate_hz, frames = ENCODERS[name]
    module = described_by(encoder, rate_hz)
    lengths = data.draw(st.lists(lengths_of(encoder), min_size=1, max_size=3))
    waveforms = [sound(rate_hz, seed, length) for seed, length in enumerate(lengths)]
    view = collate(waveforms, encoder)
    together = module(view)
    assert together.shape == (len(lengths), view.layout.positions, 39)
    assert torch.isfinite(together).all()
    for waveform, found in zip(waveforms, together, strict=True):
        alone = module(collate([waveform], encoder))[0]
        torch.testing.assert_close(alone, by_hand(waveform, rate_hz)[::frames][: len(alone)], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(found[: len(alone)], alone, atol=1e-3, rtol=1e-3)


def test_there_are_as_many_as_the_encoder_has_positions_whatever_the_length(heard):
    encoder, rate_hz, _, module = heard
    first = shortest(encoder)
    for length in (*range(first, first + 3 * encoder.stride, 37), *range(first, rate_hz, 997)):
        view = collate([sound(rate_hz, 0, length)], encoder)
        assert module(view).shape == (1, view.layout.positions, 39), length


def test_mfccs_are_float32_under_autocast(heard):
    encoder, rate_hz, _, module = heard
    view = collate([sound(rate_hz, 0, rate_hz // 4)], encoder)
    plain = module(view)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(view), plain)


@pytest.mark.parametrize(
    "signal",
    [
        Signal(kind="image", axes=(3, 16, 16)),
        Signal(kind="waveform", axes=(2, None), rate_hz=16_000),
        Signal(kind="tokens", axes=(None,), vocabulary=11),
    ],
)
def test_samples_that_are_not_mono_sound_are_refused_with_a_mend(signal):
    network = tiny_network()
    network.signal = signal
    with pytest.raises(SpecError, match=f"MFCC describes mono sound of a known rate.*{signal.kind}") as caught:
        MFCC().build(network)
    assert "Waveforms" in caught.value.hint


@pytest.mark.parametrize("coefficients", [0, 24])
def test_more_coefficients_than_mel_bands_are_refused(coefficients):
    with pytest.raises(SpecError, match=r"MFCC\.coefficients must be from 1 to 23"):
        MFCC(coefficients=coefficients)


# ── An earlier run's layer ───────────────────────────────────────────────────────────────────────────────────────────


def experiment_of(source: Source, encoder: FeatureEncoder, **parts) -> Experiment:
    training = Training(
        steps=2,
        batch=BatchSize.samples(4),
        optimizer=AdamW(learning_rate=0.05),
        schedule=Constant(),
        precision="float32",
        num_workers=0,
        log_every=1,
        checkpoint_every=1,
        keep_checkpoints=2,
    )
    defaults = {"targets": TinyTargets(), "objective": TinyObjective(), "backbone": TinyBackbone(depth=3)}
    return Experiment(
        name="earlier", source=source, encoder=encoder, masker=TinyMasker(), training=training, **{**defaults, **parts}
    )


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> str:
    """The folder of a run of two steps on uneven walks, with a class token before the positions."""
    folder = tmp_path_factory.mktemp("runs") / "earlier"
    start(experiment_of(TinySource(uneven=True), TinyEncoder(class_token=True)), folder, device="cpu", examined=False)
    return str(folder)


def walks(**fields) -> View:
    return tiny_batch([0, 1, 2, 3], **fields).views[0]


@pytest.mark.parametrize("which", ["student", "teacher"])
@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("feature", ["block", "ffn"])
def test_it_is_what_the_run_records_network_gives_at_that_block(earlier, which, block, feature):
    module = EarlierLayer(run=earlier, block=block, feature=feature, network=which).build(tiny_network())
    network, view = RunRecord.open(Path(earlier)).network(which), walks()
    with torch.no_grad():
        tokens = network.encoder.embed(view)
        output = network.contextualize(tokens, None, HiddenState.last(feature, 3, 3))
    expected = output.hidden_states[block - 1][:, 1:]  # without the class token
    found = module(view)
    torch.testing.assert_close(found, expected)
    assert found.shape == (4, 12, module.width) == (4, 12, 8)
    assert found.dtype == torch.float32


def test_blocks_count_from_the_lowest(earlier):
    network, view = RunRecord.open(Path(earlier)).network("student"), walks(uneven=False)
    with torch.no_grad():
        x = network.encoder.place(network.encoder.embed(view), None).features
        for block in network.backbone.blocks[:2]:  # by hand, see TinyBackbone
            x = F.layer_norm(x + block(torch.tanh(x + x.mean(1, keepdim=True))), (8,))
    torch.testing.assert_close(EarlierLayer(run=earlier, block=2).build(tiny_network())(view), x[:, 1:])


def test_student_teacher_and_the_checkpoints_differ(earlier):
    view = walks()
    specs = [EarlierLayer(run=earlier, block=2, network=which) for which in ("student", "teacher")]
    specs += [specs[0].evolve(step=1)]
    found = [spec.build(tiny_network())(view) for spec in specs]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[0], found[2])
    torch.testing.assert_close(specs[0].evolve(step=2).build(tiny_network())(view), found[0])  # the newest


def test_a_sample_is_described_alike_alone_and_beside_longer_ones(earlier):
    module = EarlierLayer(run=earlier, block=3).build(tiny_network())
    together = module(walks())
    for index in range(4):
        alone = module(tiny_batch([index]).views[0])[0]
        torch.testing.assert_close(together[index, : len(alone)], alone)


def test_it_sees_what_is_masked(earlier):
    """The description is of the whole input, whatever the student must not see of it."""
    module = EarlierLayer(run=earlier, block=3).build(tiny_network())
    masked = tiny_batch(masker=TinyMasker(masks=2, corruption="drop")).views[0]
    assert torch.equal(module(masked), module(attrs.evolve(masked, mask=None)))


def test_the_network_stays_as_it_is_through_training_steps(earlier):
    targets = FeatureTargets(feature=EarlierLayer(run=earlier, block=2))
    learner = build_learner(
        experiment_of(TinySource(uneven=True), TinyEncoder(), targets=targets, objective=LatentRegression())
    )
    learner.train()
    module = learner.targets.feature
    assert not any(one.training for one in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert list(module.parameters())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    batch: Batch = tiny_batch(masker=TinyMasker())
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    student = learner.network(batch.views[0])
    (target,) = learner.targets(passes_batch((student,)), (student,), learner.network)
    assert not target.values.requires_grad
    torch.testing.assert_close(target.values, module(batch.views[0]))
    losses = []
    for step in range(1, 4):
        total, _ = learner(batch, learner.objective.num_targets(batch))
        losses.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        learner.after_step(step, 3)
    assert losses[-1] < losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_block_above_the_top_is_refused_with_the_depth(earlier):
    with pytest.raises(SpecError, match=r"EarlierLayer\.block must be at most 3, .* got 4") as caught:
        EarlierLayer(run=earlier, block=4).build(tiny_network())
    assert caught.value.where == "block"
    with pytest.raises(SpecError, match=r"EarlierLayer\.block must be at least 1"):
        EarlierLayer(run=earlier, block=0)


def test_another_kind_of_samples_is_refused(earlier):
    network = network_of(ENCODERS["bands at 16 kHz"][0], Signal(kind="waveform", axes=(None,), rate_hz=16_000))
    with pytest.raises(SpecError, match="learned from numbers, and the source gives waveform") as caught:
        EarlierLayer(run=earlier, block=1).build(network)
    assert caught.value.where == "run"


def test_another_coding_of_ids_is_refused(earlier):
    network = tiny_network()
    network.signal = attrs.evolve(network.signal, coding="other words")
    with pytest.raises(SpecError, match="learned from numbers, and the source gives other words"):
        EarlierLayer(run=earlier, block=1).build(network)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(RunError) as caught:
        EarlierLayer(run=str(tmp_path / "nowhere"), block=1).build(tiny_network())
    assert "nowhere" in str(caught.value)


def test_a_network_of_other_patches_is_refused(tmp_path):
    source = NoiseSource(kind="image", axes=(3, 16, 16))
    coarse, fine = (Patches(width=8, patch=patch, mask_token=True) for patch in (8, 4))
    start(experiment_of(source, coarse), tmp_path / "coarse", device="cpu", examined=False)
    targets = FeatureTargets(feature=EarlierLayer(run=str(tmp_path / "coarse"), block=2))
    experiment = experiment_of(source, fine, targets=targets, objective=LatentRegression())
    module = build_learner(experiment).targets.feature
    with pytest.raises(SpecError, match="the other network has 4 positions where this one has 16") as caught:
        module(collate([source.open().content(0)], fine))
    assert caught.value.where == "experiment.targets.feature.run"


def test_a_network_of_other_strides_is_refused_where_samples_are_padded_too(tmp_path):
    source = NoiseSource(kind="waveform", axes=(2_000,), uneven=True, rate_hz=16_000)
    bands = MelFilterbank(width=8, bands=4, position_depth=1, position_kernel=3, position_groups=2)
    start(experiment_of(source, bands), tmp_path / "bands", device="cpu", examined=False)
    experiment = experiment_of(source, bands.evolve(joined=2))
    spec = EarlierLayer(run=str(tmp_path / "bands"), block=2)
    module, contents = spec.build(build_network(experiment)), source.open()
    with pytest.raises(SpecError, match="the other network has 11 positions where this one has 5"):
        module(collate([contents.content(index) for index in range(3)], bands.evolve(joined=2)))
