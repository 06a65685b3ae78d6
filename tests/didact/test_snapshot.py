"""Snapshots of a step: exactly the changes of a forward pass are undone, and nothing else is copied."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from didact.contracts.targets import TeacherModule
from didact.loop.faults import SMALL, Snapshot
from didact_optimizers import LARS, SGD, Muon


class Teacher(TeacherModule):
    """A teacher with a large buffer of its own, in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3).eval()
        self.register_buffer("held", torch.zeros(2 * SMALL))

    def forward(self, student, network, hidden_states=()):
        raise NotImplementedError

    def after_step(self, network, step, steps):
        raise NotImplementedError


class Learner(nn.Module):
    """A student with running statistics and a queue, and a teacher."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.teacher = nn.Linear(3, 3), nn.BatchNorm1d(3), Teacher()
        self.register_buffer("queue", torch.zeros(SMALL + 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(x)).square().sum()


@pytest.fixture
def learner() -> Learner:
    return Learner()


def optimizer_of(learner: nn.Module, **how: bool) -> torch.optim.AdamW:
    return torch.optim.AdamW([p for p in learner.parameters() if p.requires_grad], **how)


def buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def test_what_forward_changed_is_put_back_and_gradients_are_dropped(learner):
    snapshot = Snapshot(learner, optimizer_of(learner), spared=TeacherModule)
    learner(torch.randn(4, 3))
    for _ in range(2):  # again: a step that failed is followed by others
        snapshot.take()
        before = buffers(learner)
        learner(torch.randn(4, 3)).backward()
        learner.queue[3] = 7.0
        assert not torch.equal(learner.norm.running_mean, before["norm.running_mean"])
        assert snapshot.restore()
        after = buffers(learner)
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert all(parameter.grad is None for parameter in learner.parameters())
        learner(torch.randn(4, 3))
        learner.queue[4] += 1


def test_a_large_buffer_is_copied_only_after_it_changed(learner):
    snapshot = Snapshot(learner, optimizer_of(learner), spared=TeacherModule)
    (copy,) = [copy for copy in snapshot._copies if copy.numel() > SMALL]
    for change in (False, True, False):
        if change:
            learner.queue[0] = 1.0
        version = copy._version
        snapshot.take()
        assert copy._version == version + change


def test_a_teachers_buffers_are_not_copied(learner):
    snapshot = Snapshot(learner, optimizer_of(learner), spared=TeacherModule)
    own = {id(buffer) for buffer in learner.teacher.buffers()}
    assert own.isdisjoint(id(buffer) for buffer in snapshot._buffers)
    assert len(snapshot._buffers) == len(list(learner.buffers())) - len(own)


def groups_of(learner: nn.Module) -> list[dict]:
    """The parameters as a component takes them; matrices belong to blocks."""
    about = {"weight_decay": 0.1, "learning_rate_scale": 1.0, "exempt": False, "in_blocks": True}
    return [{"params": [(name, p) for name, p in learner.named_parameters() if p.requires_grad], **about}]


@pytest.mark.parametrize(
    "make",
    [
        lambda learner: optimizer_of(learner, fused=True),
        lambda learner: optimizer_of(learner, foreach=True),
        lambda learner: optimizer_of(learner, foreach=False),
        lambda learner: SGD(learning_rate=0.1).build(groups_of(learner)),
        lambda learner: SGD(learning_rate=0.1, momentum=0.0).build(groups_of(learner)),
        lambda learner: LARS(learning_rate=0.1).build(groups_of(learner)),
        lambda learner: Muon(learning_rate=0.1).build(groups_of(learner)),
    ],
)
def test_an_update_is_noticed_whatever_computes_it(learner, make):
    optimizer = make(learner)
    snapshot = Snapshot(learner, optimizer, spared=TeacherModule)
    for _ in range(2):  # the first update also creates the optimizer's state
        snapshot.take()
        learner(torch.randn(4, 3)).backward()
        optimizer.step()
        assert not snapshot.restore()
    snapshot.take()
    learner(torch.randn(4, 3)).backward()
    assert snapshot.restore()
