"""The training loop, and one optimizer step, as plainly as they can be written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from didact import checkpoint
from didact.batching import BatchPlan
from didact.collapse import standard_deviation
from didact.devices import autocast, choose_precision
from didact.errors import RunError
from didact.experiment import Experiment
from didact.folder import RunFolder
from didact.learner import Learner, add_counts
from didact.loading import StepBatch, load
from didact.observing import Observers
from didact.optimization import build_optimizer, clip_gradients, gradient_norm, set_learning_rate
from didact.randomness import key
from didact.signals import StopRequest
from didact.tensors import Loss, move
from didact.timing import span


class Trainer:
    """A learner on its way: the optimizer, the device, and how many steps were taken.

    Args:
        experiment: what is trained, and how.
        learner: the parts, at their initialisation.
        device: where to compute.
    """

    def __init__(self, experiment: Experiment, learner: Learner, device: torch.device) -> None:
        self.experiment = experiment
        self.learner = learner.to(device)
        self.device = device
        self.precision = choose_precision(experiment.training.precision, device)
        self.optimizer = build_optimizer(experiment.training, learner)
        self.step = 0
        self.skipped = 0
        if experiment.training.compile:
            compile_blocks(learner)

    def fit(
        self,
        plan: BatchPlan,
        folder: RunFolder,
        observers: Observers,
        stop: StopRequest,
        evaluate: Callable[[int], None],
    ) -> None:
        """Trains to the end, or until somebody asks to stop.

        Args:
            plan: which samples make up each batch.
            folder: where checkpoints go.
            observers: told of logged steps and checkpoints.
            stop: seen after every step.
            evaluate: judges the network as it is after a step.

        Raises:
            RunError: the loss is not finite and the experiment says to stop, or a checkpoint cannot be written.
            DataError: a sample cannot be read.
        """
        training = self.experiment.training
        meter = Meter(self.device)
        batches = load(self.experiment, plan, self.step, pin=self.device.type == "cuda")
        while self.step < training.steps and not stop:
            with span("data wait"):
                batch = next(batches)
            scalars = self.take_step(batch)
            meter.add(batch, scalars)
            if self.step % training.log_every == 0 or self.step in (1, training.steps):
                observers.notify("step_finished", step=self.step, metrics=meter.read())
            last = self.step == training.steps
            if not last and not stop and _due(self.step, training.evaluate_every):
                evaluate(self.step)
                meter.restart()
            if last or stop or _due(self.step, training.checkpoint_every):  # asked to stop in an evaluation, too
                self.save(folder, observers)

    def take_step(self, batch: StepBatch) -> dict[str, Tensor | float]:
        """One optimizer step on a global batch; returns scalars worth logging, still on the device."""
        training, learner = self.experiment.training, self.learner
        learner.train()
        torch.manual_seed(key(training.seed, "dropout", self.step))  # all that PyTorch draws globally in this step
        rate = set_learning_rate(self.optimizer, training, self.step)
        totals = add_counts(learner.objective.counts(part) for part in batch.parts)
        self.optimizer.zero_grad(set_to_none=True)
        parts = [self._backward(part, totals) for part in batch.parts]
        losses = [loss for _, loss in parts]
        norm = gradient_norm(learner)
        finite = bool(torch.isfinite(norm))
        if finite:
            if training.clip_norm is not None:
                clip_gradients(learner, norm, training.clip_norm)
            with span("optimizer"):
                self.optimizer.step()
        else:
            self._not_finite(batch, totals, losses)
        self.step += 1
        after = learner.after_step(self.step) if finite else {}
        return {
            "train/loss": torch.stack([total for total, _ in parts]).sum(),
            **_terms(losses, totals),
            "train/gradient_norm": norm,
            "train/learning_rate": rate,
            "train/skipped_steps": float(self.skipped),
            **_spread(losses),
            **after,
            "data/epoch": float(batch.epoch),
            "data/padding": batch.padding,
        }

    def save(self, folder: RunFolder, observers: Observers) -> None:
        """Writes a checkpoint of the step just taken and deletes those that are too old to keep."""
        written = checkpoint.save(folder.checkpoints, self.learner, self.optimizer, self.step, folder.experiment_data())
        checkpoint.prune(folder.checkpoints, self.experiment.training.keep_checkpoints)
        observers.notify("checkpoint_written", step=self.step, folder=str(written.folder))

    def restore(self, stored: checkpoint.Checkpoint) -> None:
        """Goes back to a checkpoint."""
        checkpoint.load(stored, self.learner, self.optimizer)
        self.step = stored.step

    def _backward(self, part: object, totals: Mapping[str, int]) -> tuple[Tensor, Loss]:
        batch = move(part, self.device)
        with autocast(self.device, self.precision):
            total, loss = self.learner(batch, totals)
        with span("backward"):
            total.backward()
        return total.detach(), loss

    def _not_finite(self, batch: StepBatch, totals: Mapping[str, int], losses: list[Loss]) -> None:
        if self.experiment.training.nonfinite == "skip":
            self.skipped += 1
            return
        terms = ", ".join(f"{name} {float(value):g}" for name, value in _terms(losses, totals).items())
        ids = [int(index) for part in batch.parts for index in part.ids]
        names = [
            name for name, p in self.learner.named_parameters() if p.grad is not None and not p.grad.isfinite().all()
        ]
        raise RunError(
            f"the gradient of step {self.step + 1} is not finite ({terms}); first in {names[0]}, in {len(names)} of "
            f"the weights",
            where=f"samples {ids[:8]}{' …' if len(ids) > 8 else ''} of the source",
            mend="lower training.learning_rate, set training.clip_norm, or leave such steps out with "
            "training.nonfinite=skip",
        )


class Meter:
    """What is logged: the step's own scalars, which follow from the seed alone, and rates since the last record."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.restart()

    def restart(self) -> None:
        """Forgets what was added, and how long ago."""
        self._since, self._steps, self._samples = time.perf_counter(), 0, 0
        self._last: dict[str, Tensor | float] = {}

    def add(self, batch: StepBatch, scalars: dict[str, Tensor | float]) -> None:
        """Takes in one step and its scalars."""
        self._steps += 1
        self._samples += sum(part.ids.shape[0] for part in batch.parts)
        self._last = scalars

    def read(self) -> dict[str, float]:
        """The metrics as numbers: those of the last step, and the rates since the last reading."""
        metrics = {name: float(value) for name, value in self._last.items()}
        elapsed = time.perf_counter() - self._since
        metrics["time/step_seconds"] = elapsed / self._steps
        metrics["time/samples_per_second"] = self._samples / elapsed
        if self.device.type == "cuda":
            metrics["memory/peak_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        self.restart()
        return metrics


def compile_blocks(learner: Learner) -> None:
    """Compiles every block of every backbone in the learner, the teacher's included: one kernel cache for all."""
    from didact.contracts import BackboneModule

    for module in learner.modules():
        if isinstance(module, BackboneModule):
            for block in module.blocks:
                block.compile()


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def _terms(losses: list[Loss], totals: Mapping[str, int]) -> dict[str, Tensor]:
    """Each term of the loss over the whole global batch; left out where there is only one, which is the loss."""
    names = list(losses[0].terms)
    if len(names) == 1:
        return {}
    return {
        f"train/{name}": torch.stack([loss.terms[name].detach() for loss in losses]).sum() / max(1, totals[name])
        for name in names
    }


def _spread(losses: list[Loss]) -> dict[str, Tensor]:
    """How much targets and predictions vary, in the first micro-batch; and the objective's own scalars."""
    first = losses[0]
    spread = dict(first.scalars)
    if first.predictions is not None and first.targets is not None:
        spread["collapse/prediction_std"] = standard_deviation(first.predictions)
        spread["collapse/target_std"] = standard_deviation(first.targets)
    return spread
