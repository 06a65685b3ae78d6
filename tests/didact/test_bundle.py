"""Bundles: a batch goes to disk and comes back as it was; a sample taken out of a batch is that sample's own batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from torch import nn

from didact.errors import RunError
from didact.loading import StepBatch
from didact.machine.distributed import World
from didact.record.bundle import read_bundle, sample_alone, write_bundle
from didact.testing.tiny import TinyMasker, tiny_batch
from didact.training.diagnosis import copy_buffers, diagnose, put_back_buffers


def plain(value: Any) -> Any:
    """A value of the contracts as lists, to compare."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    return value


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
    assert view.mask.predicted[0, 0, view.mask.targets].all()
    assert len(view.mask.targets) == view.mask.predicted.sum()


@pytest.mark.parametrize("masker", [None, TinyMasker(masks=2), TinyMasker(corruption="drop")])
def test_a_bundle_comes_back_as_it_went(tmp_path, masker):
    learner = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(learner.parameters())
    learner(torch.ones(3)).sum().backward()
    optimizer.step()
    parts = (tiny_batch(range(3), masker, views=2), tiny_batch(range(3, 7), masker, views=2))
    batch = StepBatch(step=41, epoch=2, parts=parts, samples=7, padding=0.25)
    written = tmp_path / "step-00000042"
    write_bundle(
        written,
        learner,
        optimizer,
        batch,
        experiment={"name": "x"},
        totals={"regression": 7},
        precision=torch.bfloat16,
        world=World(),
        rank=3,
        finding="it broke",
        names=("a", "b"),
    )
    held = read_bundle(written)
    assert plain(held.batch) == plain(batch)
    assert (held.step, held.precision, held.rank, held.totals) == (42, "bfloat16", 3, {"regression": 7})
    assert (held.finding, held.names, held.experiment) == ("it broke", ("a", "b"), {"name": "x"})
    assert held.state.step == 41


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("didact.record.bundle.save_file", full)
    learner = nn.Linear(3, 2)
    batch = StepBatch(step=0, epoch=0, parts=(tiny_batch(),), samples=4, padding=0.0)
    with pytest.raises(RunError, match="the disk is full"):
        write_bundle(
            tmp_path / "step-00000001",
            learner,
            torch.optim.AdamW(learner.parameters()),
            batch,
            experiment={},
            totals={},
            precision=torch.float32,
            world=World(),
            finding="",
            names=(),
        )
    assert list(tmp_path.iterdir()) == []


# ── diagnosis ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Stages(nn.Module):
    """A chain of modules in the learner's place: what each makes of the last one's output."""

    def __init__(self, *stages: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, batch, totals):
        x = batch.views[0].content
        for stage in self.stages:
            x = stage(x)
        return x.sum(), SimpleNamespace(terms={"sum": x.sum()})


class Step(nn.Module):
    """One function as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def first(*stages: nn.Module) -> str:
    learner: Any = Stages(*stages)
    batch = tiny_batch(range(4), uneven=False)
    found = diagnose(learner, (batch,), {"sum": 1}, device=torch.device("cpu"), precision=torch.float32, seed=0, step=0)
    assert all(parameter.grad is None for parameter in learner.parameters())
    return "" if found.first is None else str(found.first)


def linear(size: int = 12) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(size, size)


def test_a_step_that_is_finite_finds_nothing():
    assert first(linear(), nn.Tanh(), linear()) == ""


def test_the_first_of_several_is_named_in_the_order_of_the_computation():
    bad = Step(lambda x: torch.where(torch.arange(12) == 3, torch.nan, x))
    assert first(linear(), nn.Tanh(), bad, linear(), bad) == "the output of stages.2 (4, 3, 12): 12 nan of 144 values"


def test_what_is_made_between_modules_is_named_by_the_module_that_takes_it():
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = linear()

        def forward(self, x):
            return self.inner(x / 0)

    assert first(linear(), Between()).startswith("an input of stages.1.inner (4, 3, 12)")


def test_a_mask_of_minus_infinity_is_not_taken_for_a_fault():
    attend = Step(lambda x: torch.where(torch.arange(12) < 6, x, -torch.inf))
    assert first(linear(), attend, nn.Softmax(-1), linear()) == ""


def test_a_gradient_is_named_by_the_last_module_that_it_reaches():
    root = Step(lambda x: (x * 0).sqrt())  # its gradient is 0 · inf
    assert first(linear(), root, linear()) == (
        "the gradient at the output of stages.0, after a finite one at that of stages.1, (4, 3, 12): 144 nan of 144 "
        "values"
    )


def test_a_spoilt_weight_is_named_before_all_that_it_spoils():
    spoilt = linear()
    with torch.no_grad():
        spoilt.bias[4] = torch.inf
    assert first(linear(), spoilt) == "the weight stages.1.bias (12,): 1 inf of 12 values"


def test_a_norm_that_overflows_is_told_from_gradients_that_do():
    assert first(linear(), Step(lambda x: x * 1e25)).startswith("the norm of the gradients")


def test_looking_leaves_running_statistics_alone():
    learner: Any = Stages(nn.BatchNorm1d(3))
    before = [buffer.clone() for buffer in learner.buffers()]
    batch = tiny_batch(range(4), uneven=False)
    diagnose(learner, (batch,), {"sum": 1}, device=torch.device("cpu"), precision=torch.float32, seed=0, step=0)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.buffers(), strict=True))


def test_buffers_are_put_back():
    module = nn.BatchNorm1d(3)
    held = copy_buffers(module)
    module(torch.randn(4, 3))
    assert not torch.equal(module.running_mean, held[0])
    put_back_buffers(module, held)
    assert torch.equal(module.running_mean, torch.zeros(3))
