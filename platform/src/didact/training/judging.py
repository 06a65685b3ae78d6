"""The networks of a run, as evaluations see them."""

from __future__ import annotations

import torch

from didact.experiment import Experiment
from didact.learner import Learner, Network, build_network
from didact.machine.devices import autocast
from didact.randomness import seeded
from didact.tensors import Batch, Loss, StudentPass, Target, move


class RunSubject:
    """What an evaluation judges; see `didact.contracts.Subject`."""

    def __init__(
        self, experiment: Experiment, learner: Learner, device: torch.device, precision: torch.dtype, step: int
    ) -> None:
        self.experiment = experiment
        self.device = device
        self.precision = precision
        self.step = step
        self._learner = learner

    def student(self) -> Network:
        """The student, in evaluation mode."""
        return self._learner.network.eval()

    def teacher(self) -> Network:
        """The teacher, in evaluation mode; the student where the method has none."""
        return self._learner.targets.subject(self._learner.network).eval()

    def untrained(self) -> Network:
        """The network at its random initialisation, even where the run starts from trained weights."""
        return build_network(self.experiment).to(self.device).eval()

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[tuple[StudentPass, ...], tuple[Target, ...]]:
        """What the student makes of a batch and what it should predict."""
        learner = self._learner.eval()
        batch = move(batch, self.device)
        with autocast(self.device, self.precision):
            passes = tuple(learner.network(view) for view in batch.views)
            return passes, learner.targets(passes, learner.network)

    @torch.no_grad()
    def predict(self, batch: Batch) -> Loss:
        """The objective's word on a batch; what its heads draw at random is the same whenever they are asked."""
        passes, targets = self.targets(batch)
        with autocast(self.device, self.precision), seeded(self.experiment.training.seed, "predict"):
            loss: Loss = self._learner.objective(passes, targets)
        return loss
