"""Bundles: a batch is saved and loaded unchanged, and a sample of a batch becomes a batch of its own."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from torch import nn

from didact import RunError, StepFailure
from didact.machine.distributed import World
from didact_doctor.bundle import read_bundle, sample_alone, write_bundle
from didact_kit import TinyMasker
from didact_kit.tiny import tiny_batch


def plain(value: Any) -> Any:
    """A value of the contracts as lists, to compare."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    return value


def failure(step: int, parts: tuple[Any, ...]) -> StepFailure:
    """A step that failed, with a layer in the learner's place."""
    learner: Any = nn.Linear(3, 2)
    experiment: Any = {"name": "x"}
    optimizer = torch.optim.AdamW(learner.parameters())
    learner(torch.ones(3)).sum().backward()
    optimizer.step()
    return StepFailure(
        reason="nonfinite",
        step=step,
        parts=parts,
        num_targets={"regression": 7},
        experiment=experiment,
        folder=None,
        learner=learner,
        optimizer=optimizer,
        device=torch.device("cpu"),
        precision=torch.bfloat16,
    )


@pytest.mark.parametrize("corruption", ["hide", "drop"])
@pytest.mark.parametrize("masks", [1, 3])
def test_a_sample_alone_is_the_batch_of_that_sample(corruption, masks):
    masker = TinyMasker(masks=masks, corruption=corruption)
    whole = tiny_batch(range(4), masker, uneven=False, views=2)
    for index in range(4):
        assert plain(sample_alone(whole, index)) == plain(tiny_batch([index], masker, uneven=False, views=2))


def test_a_padded_sample_alone_keeps_its_padding():
    whole = tiny_batch(range(3), TinyMasker())
    (view,) = sample_alone(whole, 2).views
    assert view.padding is not None
    assert view.padding.shape == (1, 12)
    assert view.padding.sum() == 2  # sample 2 is two shorter than the longest
    assert view.mask is not None
    assert view.mask.predicted[0, 0, view.mask.target_indices].all()
    assert len(view.mask.target_indices) == view.mask.predicted.sum()


@pytest.mark.parametrize("masker", [None, TinyMasker(masks=2), TinyMasker(corruption="drop")])
def test_a_bundle_comes_back_as_it_went(tmp_path, masker):
    parts = (tiny_batch(range(3), masker, views=2), tiny_batch(range(3, 7), masker, views=2))
    written = tmp_path / "step-00000042"
    write_bundle(written, failure(42, parts), world=World(), rank=3, finding="it broke", names=("a", "b"))
    held = read_bundle(written)
    assert plain(held.parts) == plain(parts)
    assert held.ids == tuple(range(7))
    assert (held.step, held.precision, held.rank, held.num_targets) == (42, "bfloat16", 3, {"regression": 7})
    assert (held.finding, held.names, held.experiment) == ("it broke", ("a", "b"), {"name": "x"})
    assert held.state.step == 41


def test_a_bundle_of_another_version_is_refused(tmp_path, monkeypatch):
    written = tmp_path / "step-00000042"
    monkeypatch.setattr("didact_doctor.bundle.SCHEMA", 1)
    write_bundle(written, failure(42, (tiny_batch(),)), world=World())
    monkeypatch.undo()
    with pytest.raises(RunError, match="the bundle has schema 1") as caught:
        read_bundle(written)
    assert caught.value.hint == "replay it with the version that wrote it"


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("didact_doctor.bundle.save_file", full)
    with pytest.raises(RunError, match="the disk is full"):
        write_bundle(tmp_path / "step-00000001", failure(1, (tiny_batch(),)), world=World())
    assert list(tmp_path.iterdir()) == []
