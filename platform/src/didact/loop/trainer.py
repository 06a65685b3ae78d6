"""The training loop and the optimizer step."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import attrs
import torch
from torch import Tensor, nn
from torch.profiler import record_function

from didact.batching import BatchPlan
from didact.building import build_learner
from didact.contracts.running import StepFailure
from didact.contracts.targets import TeacherModule
from didact.experiment import Experiment
from didact.learner import Learner, add_counts, named_tensors
from didact.loading import StepBatch, load
from didact.loop.engine import Engine, whole
from didact.loop.faults import Faults, RollBack, Snapshot, moments, ran_out_of_memory, standard_deviation
from didact.loop.patience import Patience
from didact.machine.devices import autocast, choose_precision, peak_memory
from didact.machine.distributed import World
from didact.machine.processes import StopRequest
from didact.optimization import build_optimizer, drop_frozen_gradients, gradient_norm, set_rates
from didact.randomness import seed_step
from didact.record import checkpoint
from didact.record.folder import RunFolder
from didact.record.observers import Observers
from didact.tensors import Batch, Loss, move


class Trainer:
    """Trains a learner; holds the optimizer, the device, the number of steps taken, and whether training has ended.

    The processes of a ``world`` share the work; each process has its own trainer.
    """

    def __init__(
        self, experiment: Experiment, learner: Learner, device: torch.device, world: World | None = None
    ) -> None:
        self.experiment = experiment
        self.learner = learner.to(device)
        self.device = device
        self.world = world if world is not None else World()
        self.precision = choose_precision(experiment.training.precision, device)
        self.engine = Engine(learner, experiment.training, self.world)
        self.optimizer = build_optimizer(experiment.training, learner)
        self.before = Snapshot(learner, self.optimizer, spared=TeacherModule)
        self.faults = Faults(experiment, self.world)
        self.patience = Patience(experiment)
        self.folder: Path | None = None
        self.step, self.finished = 0, False

    def fit(
        self,
        plan: BatchPlan,
        folder: RunFolder,
        observers: Observers,
        stop: StopRequest,
        evaluate: Callable[[int], Mapping[str, float]],
    ) -> None:
        """Trains to the end or until a stop request; ``evaluate`` returns the metrics of the network after a step.

        The end is the last step, or earlier if ``training.patience`` is exhausted.

        Raises:
            RunError: the loss is not finite, or targets or predictions collapsed, and the experiment says to stop; a
                step does not fit into memory; a checkpoint cannot be written.
            RollBack: the loss is not finite, and the experiment says to roll back.
            DataError: a sample cannot be read.
        """
        training = self.experiment.training
        self.folder = folder.path
        self.faults.attach(folder, observers)
        self.patience.attach(folder, self.step)
        meter, saving = Meter(self.device), training.intervals(self.experiment.evaluations)
        batches = load(self.experiment, plan, self.step, world=self.world, pin=self.device.type == "cuda")
        with closing(self.writer(folder, observers)) as writer:
            stopping = self.world.any(bool(stop))
            self._decide({})
            if self.step > 0 and not stopping and (self.finished or _due(self.step, training.evaluate_every)):
                self._evaluated(evaluate)  # if the run was stopped before this evaluation
                writer.prune()
            while not (self.finished or stopping):
                with record_function("data wait"):
                    batch = next(batches)
                metrics: dict[str, float] = {}
                logged = _due(self.step + 1, training.log_every, *saving) or self.step + 1 in (1, training.steps)
                if self.faults.leaves_out(self.step + 1):
                    self.step += 1
                else:
                    scalars = self.take_step(batch, logged=logged)
                    meter.add(batch)
                    if logged:
                        metrics = meter.read(scalars)
                        observers.notify("step_finished", step=self.step, metrics=metrics)
                        self.faults.watch(self.step, metrics)
                self._decide(metrics)
                stopping = self.world.any(bool(stop))
                saved = self.finished or stopping or _due(self.step, *saving)
                if saved:
                    writer.begin(self.learner, self.optimizer, self.step, folder.experiment_data())
                if self.finished or (not stopping and _due(self.step, training.evaluate_every)):
                    writer.finish(wait=self.finished)  # save the weights before they are evaluated
                    self._evaluated(evaluate)
                    meter.restart()
                    stopping = self.world.any(bool(stop))
                    if stopping and not saved:
                        writer.begin(self.learner, self.optimizer, self.step, folder.experiment_data())
                    if saved or stopping:
                        writer.prune()
                writer.finish(wait=stopping)

    def writer(self, folder: RunFolder, observers: Observers) -> checkpoint.Writer:
        """Returns the writer of a run's checkpoints, which notifies the observers of complete ones."""

        def written(stored: checkpoint.Checkpoint) -> None:
            observers.notify("checkpoint_written", step=stored.step, folder=str(stored.folder))

        keeps = functools.partial(self.experiment.training.keeps, values=self.patience.values)
        return checkpoint.Writer(folder.checkpoints, self.world, keeps, written)

    def take_step(self, batch: StepBatch, *, logged: bool = True) -> dict[str, Tensor | float]:
        """Takes one optimizer step on this process's share of a global batch; all processes must call this together.

        Returns:
            The scalars to log, of the whole global batch, still on the device; empty unless ``logged``.
        """
        training, learner = self.experiment.training, self.learner
        learner.train()
        self.before.take()
        seed_step(training.seed, self.step, self.world.rank)
        rates = set_rates(self.optimizer, training, self.step)
        counts = [learner.objective.num_targets(part) for part in batch.parts]
        num_targets = self.world.all_reduce_counts(add_counts(counts))
        self.optimizer.zero_grad(set_to_none=True)
        self._moments: dict[str, list[Tensor]] = {}
        after: Mapping[str, float | Tensor] = {}
        try:
            losses = [self._backward(part, num_targets, part is batch.parts[-1], logged) for part in batch.parts]
            drop_frozen_gradients(self.optimizer, self.step)
            norm = whole(gradient_norm(learner))
            # the gradient of an infinite loss may be finite
            sums = torch.stack([term.detach().float() for loss in losses for term in loss.terms.values()]).sum()
            finite = not self.world.any(not bool(torch.isfinite(norm + sums)))
            if finite:
                if training.max_grad_norm is not None:
                    nn.utils.clip_grads_with_norm_(learner.parameters(), training.max_grad_norm, norm)
                with record_function("optimizer"):
                    self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)  # a teacher's update may need the memory
                after = learner.after_step(self.step + 1, training.steps)
        except (MemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # frames hold the step's tensors; a checkpoint needs memory
            intact = self.before.restore()
            failure = self._failure("memory", batch, num_targets)
            raise self.faults.out_of_memory(error, failure, intact=intact) from error
        terms = self._terms(losses, num_targets) if logged or not finite else {}
        if not finite:
            self.before.restore()
            means = {name: float(term) for name, term in terms.items()}
            if self.faults.not_finite(self._failure("nonfinite", batch, num_targets), means) == "roll back":
                raise RollBack
        self.step += 1
        if not logged:
            return {}
        sizes = self.world.all_reduce_counts({"held": batch.held, "cells": batch.cells})
        return {
            "train/loss": torch.stack(list(terms.values())).sum(),
            **({f"train/{name}": term for name, term in terms.items()} if len(terms) > 1 else {}),
            "train/gradient_norm": norm,
            **rates,
            "train/skipped_steps": float(sum(step <= self.step for step in self.faults.left_out)),
            **self._means(losses, counts),
            **{f"collapse/{name}_std": standard_deviation(each, self.world) for name, each in self._moments.items()},
            **after,
            "data/epoch": float(batch.epoch),
            "data/padding": 1 - sizes["held"] / sizes["cells"],
        }

    def gather(self) -> Learner:
        """Returns the learner with all weights on each process, for evaluations; all processes must call this.

        Evaluations call parts of a network, and each process calls them on its own number of batches. A sharded
        network allows neither: its forward passes exchange weights, which all processes must do together.
        """
        if not self.engine.sharded:
            return self.learner
        gathered = build_learner(self.experiment).to(self.device)
        full = dict(named_tensors(gathered))
        with torch.no_grad():
            for name, mine in named_tensors(self.learner):
                full[name].copy_(whole(mine))
        return gathered

    def _decide(self, metrics: Mapping[str, float]) -> None:
        """Decides whether training has ended after this step, whose metrics are new; the main process's record counts.

        All processes must call this together.
        """
        self.patience.add(self.step, metrics)
        self.finished = self.step == self.experiment.training.steps
        if self.experiment.training.patience is not None:
            self.finished |= self.world.any(self.world.main and self.patience.exhausted)

    def _evaluated(self, evaluate: Callable[[int], Mapping[str, float]]) -> None:
        """Evaluates the network; if the result ends training early, evaluates it again as that of a finished run."""
        before = self.finished
        self._decide(evaluate(self.step))
        if self.finished != before:
            evaluate(self.step)

    def _backward(self, part: Batch, num_targets: Mapping[str, int], last: bool, logged: bool) -> Loss:
        """Runs the forward and backward pass of one part; only the last part's gradient is summed over processes."""
        batch = move(part, self.device)
        with self.engine.gathering(last):
            with autocast(self.device, self.precision):
                total, loss = self.engine(batch, num_targets)
            with record_function("backward"):
                total.backward()  # type: ignore[no-untyped-call]
        # keeping the predictions of many parts would use the memory that the split into parts saves
        shown = {"prediction": loss.predictions, "target": loss.targets} if logged else {}
        for name, values in shown.items():
            if values is not None:
                self._moments.setdefault(name, []).append(moments(values))
        return attrs.evolve(loss, predictions=None, targets=None)

    def _failure(
        self, reason: Literal["nonfinite", "memory"], batch: StepBatch, counts: Mapping[str, int]
    ) -> StepFailure:
        return StepFailure(
            reason=reason,
            step=batch.step + 1,
            parts=batch.parts,
            num_targets=counts,
            experiment=self.experiment,
            folder=self.folder,
            learner=self.learner,
            optimizer=self.optimizer,
            device=self.device,
            precision=self.precision,
        )

    def _terms(self, losses: Sequence[Loss], num_targets: Mapping[str, int]) -> dict[str, Tensor]:
        """Computes the mean of each loss term over the whole global batch; scalars."""
        parts = {name: torch.stack([loss.terms[name].detach().float() for loss in losses]) for name in losses[0].terms}
        return {name: self.world.all_reduce(each.sum() / max(1, num_targets[name])) for name, each in parts.items()}

    def _means(self, losses: Sequence[Loss], counts: Sequence[Mapping[str, int]]) -> dict[str, Tensor]:
        """Averages the objective's scalars over the whole global batch, weighted by each part's number of targets."""
        weights = torch.tensor([float(max(count.values(), default=0)) for count in counts], device=self.device)
        weights /= self.world.all_reduce(weights.sum()).clamp(min=1)
        names = losses[0].scalars
        parts = {name: torch.stack([loss.scalars[name].detach().float() for loss in losses]) for name in names}
        return {name: self.world.all_reduce(weights @ values) for name, values in parts.items()}


class Meter:
    """Computes the metrics of a step: its scalars, which depend only on the seed, and rates since the last reading."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.restart()

    def restart(self) -> None:
        """Starts a new interval."""
        self._since, self._steps, self._samples = time.perf_counter(), 0, 0

    def add(self, batch: StepBatch) -> None:
        """Counts one step."""
        self._steps, self._samples = self._steps + 1, self._samples + batch.samples

    def read(self, scalars: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Returns the metrics of a step, given its scalars, and starts a new interval."""
        elapsed = time.perf_counter() - self._since
        rates = {
            "time/step_seconds": elapsed / self._steps,
            "time/samples_per_second": self._samples / elapsed,
            "memory/peak_gib": peak_memory(self.device) / 2**30,
        }
        self.restart()
        return {name: float(value) for name, value in scalars.items()} | rates


def _due(step: int, *intervals: int | None) -> bool:
    return any(every is not None and step % every == 0 for every in intervals)
