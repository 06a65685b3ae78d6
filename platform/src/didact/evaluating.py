"""The state of a run that evaluations receive."""

from __future__ import annotations

import attrs
import torch

from didact.building import build_network
from didact.contracts.network import Network
from didact.experiment import Experiment, RunState
from didact.learner import Learner
from didact.machine.devices import autocast
from didact.machine.distributed import World
from didact.randomness import seeded
from didact.tensors import Batch, Loss, StudentPass, Target, move


@attrs.define(eq=False)
class LearnerState(RunState):
    """The state that is evaluated: the networks of a learner after a step."""

    experiment: Experiment
    learner: Learner
    device: torch.device
    precision: torch.dtype
    step: int
    finished: bool
    world: World = World()

    def student(self) -> Network:
        return self.learner.network.eval()

    def teacher(self) -> Network:
        return self.learner.targets.evaluated_network(self.learner.network).eval()

    def untrained(self) -> Network:
        return build_network(self.experiment).to(self.device).eval()

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[tuple[StudentPass, ...], tuple[Target, ...]]:
        self.world.barrier()  # raises if a process has failed, before parts use collectives
        learner = self.learner.eval()
        batch = move(batch, self.device)
        with autocast(self.device, self.precision):
            passes = learner.passes(batch)
            return passes, learner.targets(batch, passes, learner.network)

    @torch.no_grad()
    def predict(self, batch: Batch) -> Loss:
        passes, targets = self.targets(batch)
        with autocast(self.device, self.precision), seeded(self.experiment.training.seed, "predict"):
            loss: Loss = self.learner.objective(move(batch, self.device), passes, targets)
        return loss
