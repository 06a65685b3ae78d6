"""Clusters as targets, and their codebooks."""

from __future__ import annotations

import zipfile
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didact import Layout, SpecError, View
from didact_kit import tiny_batch, tiny_network, tiny_preflight
from didact_kit.tiny import passes_batch
from didact_masked import MFCC, ClusterTargets, PatchPixels
from didact_masked.clusters import read_codebook, write_codebook

# ── The targets ──────────────────────────────────────────────────────────────────────────────────────────────────────


def targets_of(folder: Path, centroids: torch.Tensor, **fields):
    """Cluster targets over `TinySource`'s columns, with these centroids (C, 3)."""
    spec = ClusterTargets(
        codebook=str(folder / "walks.npz"), feature=PatchPixels(normalize=False), clusters=len(centroids), **fields
    )
    write_codebook(spec, centroids.numpy())
    return spec.build(tiny_network(uneven=False))


@given(seed=st.integers(0, 10_000), clusters=st.integers(2, 9))
def test_a_target_is_the_nearest_centroid(tmp_path_factory, seed, clusters):
    drawn = torch.Generator().manual_seed(seed)
    centroids = torch.randn(clusters, 3, generator=drawn)
    module = targets_of(tmp_path_factory.mktemp("codebook"), centroids)
    view = tiny_batch([seed % 16, (seed + 5) % 16], uneven=False).views[0]
    network = tiny_network(uneven=False)
    passes = (network(view),)
    (target,) = module(passes_batch(passes), passes, network)
    columns = view.content.transpose(1, 2)  # (B, T, 3)
    distances = (columns[:, :, None] - centroids).square().sum(-1)  # (B, T, C)
    assert torch.equal(target.values, distances.argmin(-1))
    assert target.values.dtype == torch.int64
    assert (target.view, target.level, module.width) == (0, "position", clusters)


def test_each_view_has_its_own_targets_and_masks_change_none(tmp_path):
    module, network = targets_of(tmp_path, torch.randn(4, 3)), tiny_network(uneven=False)
    views = tiny_batch([0, 4, 8], uneven=False, views=2).views
    views = (views[0], attrs.evolve(views[1], content=views[1].content.flip(-1)))
    passes = tuple(network(view) for view in views)
    first, second = module(passes_batch(passes), passes, network)
    assert [target.view for target in (first, second)] == [0, 1]
    assert not torch.equal(first.values, second.values)
    assert torch.equal(second.values, module(passes_batch(passes[1:]), passes[1:], network)[0].values)


def test_targets_are_the_same_under_autocast(tmp_path):
    """In bfloat16, distances of 1000 and 1001 would be one."""
    centroids = torch.tensor([[0.0, 0.0, 30.0], [0.0, 0.0, 30.02], [0.0, 0.0, 30.04]])
    module = targets_of(tmp_path, centroids)
    content = torch.zeros(1, 3, 3)
    content[0, 2] = torch.tensor([30.0, 30.021, 30.05])
    view = View(content=content, layout=Layout((3,)))
    with torch.autocast("cpu", torch.bfloat16):
        assert module.nearest(view).tolist() == [[0, 1, 2]]


def test_the_centroids_are_no_parameters_but_kept(tmp_path):
    module = targets_of(tmp_path, torch.randn(4, 3))
    assert not list(module.parameters())
    assert list(module.state_dict()) == ["centroids"]


def test_the_doctor_is_told_how_many_clusters_there_are():
    (found,) = ClusterTargets(codebook="words.npz", clusters=2_000).examine(tiny_preflight())
    assert found.severity == "fine"
    assert "2,000 clusters of words.npz" in found.says


def test_a_single_cluster_is_refused():
    with pytest.raises(SpecError, match=r"ClusterTargets\.clusters must be at least 2"):
        ClusterTargets(codebook="words.npz", clusters=1)


# ── Codebooks that are not there ─────────────────────────────────────────────────────────────────────────────────────


SPEC = ClusterTargets(codebook="words.npz", feature=PatchPixels(normalize=False), clusters=4)


@pytest.fixture
def codebook(tmp_path, monkeypatch) -> Path:
    """The codebook of `SPEC`, in the folder that the test runs in."""
    monkeypatch.chdir(tmp_path)
    write_codebook(SPEC, np.zeros((4, 3), np.float32))
    return tmp_path / "words.npz"


def test_a_codebook_that_is_read_is_what_was_written(codebook):
    points = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    write_codebook(SPEC, points)
    assert np.array_equal(read_codebook(SPEC, 3).numpy(), points)


def test_without_a_codebook_the_command_is_named_and_where_it_was_looked_for(codebook):
    codebook.unlink()
    with pytest.raises(SpecError, match=r"there is no codebook in words\.npz") as caught:
        read_codebook(SPEC, 3)
    assert "didact cluster FILE" in caught.value.hint
    assert str(codebook.parent) in caught.value.hint


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def bits_flipped(path: Path) -> None:
    """Of the centroids, so that their checksum does not fit."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as held:
        place = held.getinfo("centroids.npy").header_offset
    data[place + 200] ^= 0xFF
    path.write_bytes(bytes(data))


def other_text(path: Path) -> None:
    path.write_text("centroids: none\n")


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros((4, 3), np.float32))


def other_arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weights=np.zeros((4, 3), np.float32))


def no_settings(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, made_for="no JSON", centroids=np.zeros((4, 3), np.float32))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage", [truncated, emptied, bits_flipped, other_text, one_array, other_arrays, no_settings, a_folder]
)
def test_a_damaged_codebook_is_an_error_that_names_the_command(codebook, damage):
    damage(codebook)
    with pytest.raises(SpecError, match=r"words\.npz is not a codebook") as caught:
        read_codebook(SPEC, 3)
    assert caught.value.where == "codebook"
    assert "didact cluster FILE" in caught.value.hint


@pytest.mark.parametrize(
    "changes",
    [{"clusters": 5}, {"feature": PatchPixels()}, {"feature": MFCC()}],
    ids=["clusters", "field", "class"],
)
def test_a_codebook_of_other_settings_is_refused_with_both(codebook, changes):
    asked = SPEC.evolve(**changes)
    with pytest.raises(SpecError, match=r"the codebook in words\.npz was made for") as caught:
        read_codebook(asked, 3)
    made, _, wanted = caught.value.what.partition(", and the targets need")
    assert made.partition("made for ")[2] != wanted.strip()
    for text, spec in ((made, SPEC), (wanted, asked)):
        assert type(spec.feature).__name__ in text
        assert f'"clusters": {spec.clusters}' in text


def test_a_codebook_of_other_pieces_is_refused_with_both_widths(codebook):
    """The same settings, of an encoder whose pieces hold 7 numbers each."""
    with pytest.raises(SpecError, match=r"words\.npz") as caught:
        read_codebook(SPEC, 7)
    assert "3" in caught.value.what
    assert "7" in caught.value.what
