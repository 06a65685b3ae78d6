"""`didact cluster`: its results, its errors, and runs that use its codebooks."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from didact import DidactError, SpecError, collate
from didact.building import build_learner, build_network
from didact.cli import main
from didact.experiment_file import load_experiment
from didact.record.folder import read_metrics
from didact.run import resume, start
from didact_kit import NoiseSource
from didact_masked import MFCC, ClusterTargets, EarlierLayer
from didact_masked.clustering import describe, fit
from didact_masked.commands import cluster_command
from didact_speech import ConvWaveform

# a plugin's source of samples (3, 12) whose columns stand close around four points, in other shares
BLOBS = '''
"""Samples whose columns stand around four points."""

from typing import ClassVar

import attrs
import numpy as np
import torch

from didact import Samples, Signal, Source, hookimpl

CENTRES = torch.tensor([[0.0, 0.0, 0.0], [10.0, 0.0, 5.0], [0.0, -10.0, 5.0], [-7.0, 7.0, -7.0]])


@attrs.frozen(kw_only=True)
class Blobs(Source):
    """Columns that stand around four points."""

    unit: ClassVar[str] = "samples"

    def signal(self):
        return Signal(kind="numbers", axes=(3, 12))

    def open(self):
        return BlobSamples()


class BlobSamples(Samples):
    labels, classes, fingerprint = None, (), "blobs"
    lengths = np.ones(40)

    def content(self, index):
        drawn = torch.Generator().manual_seed(index)
        chosen = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3, 3])[torch.randperm(12, generator=drawn)]
        return (CENTRES[chosen] + 0.01 * torch.randn(12, 3, generator=drawn)).T

    def views(self, index, *, length, generator):
        return (self.content(index),)

    def name(self, index):
        return f"blobs {index}"


@hookimpl
def didact_components():
    return {"blobs": Blobs}
'''

FILE = '''
"""Columns as words of a vocabulary of four."""

from blobs_parts import Blobs

from didact import AdamW, BatchSize, Constant, Experiment, Training
from didact_kit import TinyBackbone, TinyEncoder, TinyMasker, TinyTargets
from didact_distill import LatentRegression
from didact_masked import ClusterTargets, MaskedCrossEntropy, PatchPixels

experiment = Experiment(
    name="columns",
    source=Blobs(),
    encoder=TinyEncoder(),
    masker=TinyMasker(),
    backbone=TinyBackbone(depth=2),
    targets=ClusterTargets(codebook="found/words.npz", feature=PatchPixels(normalize=False), clusters=4),
    objective=MaskedCrossEntropy(),
    training=Training(
        steps=6, batch=BatchSize.samples(8), optimizer=AdamW(learning_rate=0.05), schedule=Constant(),
        precision="float32", num_workers=0, log_every=1, checkpoint_every=3, keep_checkpoints=4,
    ),
)
other = experiment.evolve(targets=TinyTargets(), objective=LatentRegression())
'''

CODEBOOK = Path("found/words.npz")


@pytest.fixture
def project(tmp_path, monkeypatch, write_plugin, install) -> Path:
    """A folder with an experiment's file ``columns.py``, which the test runs in."""
    install(write_plugin("blobs_parts", BLOBS))
    (tmp_path / "columns.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def centres() -> Callable[[], np.ndarray]:
    """The four points, in the order of their first coordinates."""
    return lambda: importlib.import_module("blobs_parts").CENTRES.numpy()


def cluster(*words: str, of: str = "columns.py") -> Result:
    """``didact cluster`` of the project's experiment, to its end; what a user can mend is raised."""
    result = CliRunner().invoke(cluster_command, [of, *words])
    if result.exception is not None:
        raise result.exception
    return result


def centroids_in(path: Path) -> np.ndarray:
    with np.load(path) as held:
        return held["centroids"]


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(points.round(1).T)]


# ── The command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_finds_the_clusters_that_there_are(project, centres):
    said = cluster().output
    np.testing.assert_allclose(in_order(centroids_in(CODEBOOK)), in_order(centres()), atol=0.01)
    assert centroids_in(CODEBOOK).dtype == np.float32
    assert "480 positions of 40 samples, 3 numbers each" in said
    share = np.array([3, 5, 2, 2]) / 12
    used = np.exp(-(share * np.log(share)).sum())
    assert f"4 clusters explain 100% of the variance, {used:.0f} of them are effectively used" in said
    assert [path.name for path in CODEBOOK.parent.iterdir()] == ["words.npz"]  # nothing half-written is left


def test_the_same_seed_gives_the_same_file_and_another_one_another(project):
    cluster()
    first = CODEBOOK.read_bytes()
    cluster("--set", "targets.codebook=again.npz")
    assert centroids_in(Path("again.npz")).tobytes() == centroids_in(CODEBOOK).tobytes()
    cluster("--replace")
    assert CODEBOOK.read_bytes() == first
    cluster("--set", "targets.codebook=other.npz", "--seed", "1")
    assert centroids_in(Path("other.npz")).tobytes() != centroids_in(CODEBOOK).tobytes()


def test_a_second_call_says_that_it_is_there_and_leaves_it(project):
    cluster()
    before = CODEBOOK.read_bytes(), CODEBOOK.stat().st_mtime_ns
    said = cluster("--seed", "5").output
    assert "found/words.npz already exists for these settings; --replace writes it again" in said
    assert (CODEBOOK.read_bytes(), CODEBOOK.stat().st_mtime_ns) == before


@pytest.mark.parametrize("changed", ["targets.clusters=5", "targets.feature.normalize=true"])
def test_a_file_of_other_settings_is_refused_until_it_shall_be_replaced(project, changed):
    cluster()
    before = CODEBOOK.read_bytes()
    with pytest.raises(SpecError, match=r"the codebook in found/words\.npz was made for") as caught:
        cluster("--set", changed)
    assert caught.value.where == "targets.codebook"
    assert "--replace" in caught.value.hint
    assert CODEBOOK.read_bytes() == before
    cluster("--set", changed, "--replace")
    assert CODEBOOK.read_bytes() != before
    assert "already exists" in cluster("--set", changed).output


def test_a_damaged_file_is_made_again_with_replace(project):
    cluster()
    before = CODEBOOK.read_bytes()
    CODEBOOK.write_bytes(before[: len(before) // 2])
    with pytest.raises(SpecError, match=r"words\.npz is not a codebook") as caught:
        cluster()
    assert "--replace" in caught.value.hint  # without it, the command says this again
    cluster("--replace")
    assert CODEBOOK.read_bytes() == before


def test_no_more_positions_are_clustered_than_were_asked_for(project):
    assert "100 positions of" in cluster("--vectors", "100").output


def test_an_experiment_of_other_targets_is_refused(project):
    with pytest.raises(DidactError, match="the targets of columns are TinyTargets, which have no clusters") as caught:
        cluster(of="columns.py:other")
    assert caught.value.where == "columns.py:other"
    assert "ClusterTargets" in caught.value.hint


def test_fewer_positions_than_clusters_are_refused_and_nothing_is_written(project):
    with pytest.raises(SpecError, match="4 clusters need as many positions, got 3") as caught:
        cluster("--vectors", "3")
    assert caught.value.where == "targets.clusters"
    assert not CODEBOOK.exists()


def test_samples_that_the_feature_cannot_describe_are_refused_by_their_field(project):
    text = Path("columns.py").read_text().replace("PatchPixels(normalize=False)", "MFCC()")
    Path("columns.py").write_text(text.replace("MaskedCrossEntropy, PatchPixels", "MFCC, MaskedCrossEntropy"))
    with pytest.raises(SpecError, match="MFCC describes mono sound") as caught:
        cluster()
    assert caught.value.where == "targets.feature"


def test_it_is_a_command_of_didact(project, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["didact", "cluster", "columns.py", "--set", "targets.clusters=481"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert "481 clusters need as many positions, got 480" in said
    assert "hint:  use fewer clusters, or more samples" in said


# ── What is clustered ────────────────────────────────────────────────────────────────────────────────────────────────


def blobs(sizes: list[int], width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points close around centres that are far from each other, in random order, and the centres."""
    rng = np.random.default_rng(seed)
    centres = 50.0 * np.array([rng.permutation(np.arange(width) + 10 * index) for index in range(len(sizes))])
    points = centres.repeat(sizes, 0)
    points = points + 0.01 * rng.normal(size=points.shape)
    return rng.permutation(points).astype(np.float32), centres.astype(np.float32)


@pytest.mark.parametrize("sizes", [[100] * 6, [400, 30, 30, 10]])
def test_well_separated_clusters_are_recovered_with_what_they_explain(tmp_path, sizes):
    points, centres = blobs(sizes, width=5, seed=len(sizes))
    spec = ClusterTargets(codebook=str(tmp_path / "words.npz"), clusters=len(sizes))
    told = fit(spec, points, samples=7, seed=0)
    found = centroids_in(tmp_path / "words.npz")
    np.testing.assert_allclose(in_order(found), in_order(centres), atol=0.02)
    share = np.array(sizes) / sum(sizes)
    assert told.used == pytest.approx(np.exp(-(share * np.log(share)).sum()))
    assert told.explained == pytest.approx(1, abs=1e-4)
    assert (told.vectors, told.samples) == (sum(sizes), 7)


def test_the_share_that_is_explained_is_the_variance_between_the_clusters(tmp_path):
    """Two clusters of points a distance 2 from their centre, which are 20 apart: 100 of 104 parts."""
    points = np.array([[x, y] for x in (-10.0, 10.0) for y in (-2.0, 2.0)] * 25, dtype=np.float32)
    spec = ClusterTargets(codebook=str(tmp_path / "words.npz"), clusters=2)
    told = fit(spec, points, samples=1, seed=0)
    np.testing.assert_allclose(in_order(centroids_in(tmp_path / "words.npz")), [[-10, 0], [10, 0]], atol=0.7)
    assert told.explained == pytest.approx(100 / 104, abs=0.01)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_vectors_that_are_all_alike_end_in_no_traceback(tmp_path):
    """Silence, say: either there is one cluster of them, or it is refused."""
    spec = ClusterTargets(codebook=str(tmp_path / "words.npz"), clusters=2)
    try:
        used = fit(spec, np.ones((20, 3), np.float32), samples=1, seed=0).used
    except DidactError:
        used = 1.0
    assert used == pytest.approx(1)


def sounds() -> tuple[NoiseSource, ConvWaveform]:
    encoder = ConvWaveform(width=8, channels=2, position_depth=0, position_groups=2)
    return NoiseSource(kind="waveform", axes=(8_000,), uneven=True, rate_hz=16_000, count=20), encoder


@pytest.mark.parametrize("wanted", [10_000, 150])
def test_every_position_is_described_as_in_a_sample_alone_and_padding_is_not(project, wanted):
    source, encoder = sounds()
    experiment = load_experiment("columns.py")[0].evolve(source=source, encoder=encoder)
    module = MFCC().build(build_network(experiment))
    told: list[int] = []
    found, seen = describe(experiment, module, wanted, seed=3, device=torch.device("cpu"), watch=told.append)
    lone = [module(collate([source.open().content(index)], encoder))[0].numpy() for index in range(20)]
    order, place = list[int](), 0
    while place < len(found):  # which sample begins here?
        order.append(min(range(20), key=lambda index: np.abs(lone[index][0] - found[place]).max()))
        place += len(lone[order[-1]])
    expected = np.concatenate([lone[index] for index in order])
    assert len(found) == min(wanted, len(expected))
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-3)
    assert len(set(order)) == len(order) <= seen
    assert len(order) == 20 or wanted == 150
    assert order != sorted(order)
    assert told == sorted(told)
    assert told[-1] == len(found)
    again, _ = describe(experiment, module, wanted, seed=3, device=torch.device("cpu"))
    assert np.array_equal(found, again)


# ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def losses(folder: Path) -> list[float]:
    return [line["train/loss"] for line in read_metrics(folder)]


def kept(folder: Path, step: int) -> dict[str, torch.Tensor]:
    files = (folder / "checkpoints" / f"step-{step:08}").rglob("learner/*.safetensors")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def test_a_run_learns_the_clusters_and_goes_on_where_it_was_stopped(project, stop_after):
    cluster()
    experiment = load_experiment("columns.py")[0]
    done = start(experiment, project / "whole", device="cpu", examined=False)
    assert (done.outcome, done.step) == ("finished", 6)
    assert losses(done.folder)[-1] < losses(done.folder)[0]
    assert np.array_equal(kept(done.folder, 6)["targets.centroids"].numpy(), centroids_in(CODEBOOK))

    stopped = start(experiment, project / "stopped", device="cpu", observers={"stop": stop_after(2)}, examined=False)
    assert (stopped.outcome, stopped.step) == ("stopped", 2)
    assert np.array_equal(kept(stopped.folder, 2)["targets.centroids"].numpy(), centroids_in(CODEBOOK))
    resumed = resume(stopped.folder, device="cpu")
    assert (resumed.outcome, resumed.step) == ("finished", 6)
    assert losses(resumed.folder) == losses(done.folder)
    whole, again = kept(done.folder, 6), kept(resumed.folder, 6)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_run_whose_codebook_is_gone_is_not_resumed_and_says_why(project, stop_after):
    cluster()
    folder = project / "run"
    start(load_experiment("columns.py")[0], folder, device="cpu", observers={"stop": stop_after(2)}, examined=False)
    shutil.rmtree(CODEBOOK.parent)
    with pytest.raises(SpecError, match="there is no codebook") as caught:
        resume(folder, device="cpu")
    assert "didact cluster FILE" in caught.value.hint


def test_the_clusters_of_an_earlier_runs_layer_can_be_learned_in_turn(project):
    """HuBERT's second iteration."""
    cluster()
    experiment = load_experiment("columns.py")[0]
    start(experiment, project / "first", device="cpu", examined=False)
    text = Path("columns.py").read_text().replace("PatchPixels(normalize=False)", 'EarlierLayer(run="first", block=1)')
    text = text.replace("ClusterTargets, MaskedCrossEntropy", "ClusterTargets, EarlierLayer, MaskedCrossEntropy")
    Path("columns.py").write_text(text.replace("found/words.npz", "found/layer.npz"))
    said = cluster().output
    assert "480 positions of 40 samples, 8 numbers each" in said
    second = load_experiment("columns.py")[0]
    assert isinstance(second.targets.feature, EarlierLayer)
    done = start(second, project / "second", device="cpu", examined=False)
    assert done.step == 6
    assert losses(done.folder)[-1] < losses(done.folder)[0]


def test_the_field_is_named_from_the_experiment_on(project):
    with pytest.raises(SpecError, match="there is no codebook") as caught:
        build_learner(load_experiment("columns.py")[0])
    assert caught.value.where == "targets.codebook"
