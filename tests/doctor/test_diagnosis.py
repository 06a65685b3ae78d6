"""Finding the first tensor of a step that is not finite, for any kind of operation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from didact_doctor.diagnosis import diagnose
from didact_kit.tiny import tiny_batch


class Stages(nn.Module):
    """A chain of modules in the learner's place."""

    def __init__(self, *stages: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, batch, num_targets):
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
    batch = tiny_batch(range(4), uneven=False)
    learner(batch, {"sum": 1})
    before = [buffer.clone() for buffer in learner.buffers()]
    assert not torch.equal(before[0], torch.zeros(3))  # a pass moves them
    diagnose(learner, (batch,), {"sum": 1}, device=torch.device("cpu"), precision=torch.float32, seed=0, step=0)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.buffers(), strict=True))
