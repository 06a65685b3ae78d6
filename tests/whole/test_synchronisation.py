"""A step waits for the device only once: to check that all values are finite before it changes the weights."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from didact.batching import BatchPlan
from didact.building import build_learner
from didact.loading import Steps
from didact.loop.trainer import Trainer
from didact.tensors import move

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense.default,  # .item(), float(tensor), if tensor:
    aten.is_nonzero.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.repeat_interleave.Tensor,
}


class Waits(TorchDispatchMode):
    """Counts the operations after which a host cannot go on before its GPU has computed what they ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        by_mask = operation is aten.index.Tensor and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in arguments[1]
        )
        if operation in WAITING or by_mask:
            self.found[str(operation)] += 1
        return operation(*arguments, **(keywords or {}))


def trainer_and_batch(experiment):
    experiment = experiment.evolve(**{"backbone.layer_drop": 0.0})  # drawn on the host, which here looks like a wait
    experiment.source.prepare()
    plan = BatchPlan(experiment.source.open().lengths, experiment.training.batch, experiment.training.seed)
    trainer = Trainer(experiment, build_learner(experiment), torch.device("cpu"))
    return trainer, Steps(experiment, plan)[0]


def test_a_step_waits_once_for_whether_all_is_finite(modality, make_experiment):
    trainer, batch = trainer_and_batch(make_experiment(modality))
    trainer.take_step(batch, logged=False)  # the first makes the optimizer's state
    with Waits() as waits:
        trainer.take_step(batch, logged=False)
    assert waits.found == {str(aten._local_scalar_dense.default): 1}


def test_forward_and_backward_never_wait(modality, make_experiment):
    trainer, batch = trainer_and_batch(make_experiment(modality))
    learner = trainer.learner.train()
    part = move(batch.parts[0], trainer.device)
    num_targets = learner.objective.num_targets(part)
    with Waits() as waits:
        total, _ = learner(part, num_targets)
        total.backward()
    assert waits.found == {}


def test_a_wait_would_be_seen():
    x = torch.ones(3, requires_grad=True)
    with Waits() as waits:
        x.sum().item()
        x[x > 0]
        bool((x > 0).any())
    assert sum(waits.found.values()) == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_forward_and_backward_never_wait_on_a_gpu(modality, make_experiment):
    trainer, batch = trainer_and_batch(make_experiment(modality))
    device = torch.device("cuda")
    learner = trainer.learner.to(device).train()
    part = move(batch.parts[0], device)
    num_targets = learner.objective.num_targets(part)
    learner(part, num_targets)[0].backward()  # compiles and allocates
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner(part, num_targets)[0].backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
