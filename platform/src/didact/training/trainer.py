"""The training loop, and one optimizer step, as plainly as they can be written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing

import attrs
import torch
from torch import Tensor

from didact.batching import BatchPlan
from didact.experiment import Experiment
from didact.learner import Learner, add_counts, build_learner, named_tensors
from didact.loading import StepBatch, load
from didact.machine.devices import autocast, choose_precision, peak_memory
from didact.machine.distributed import World
from didact.machine.signals import StopRequest
from didact.optimization import build_optimizer, clip_gradients, gradient_norm, set_learning_rate
from didact.randomness import seed_step
from didact.record import checkpoint
from didact.record.folder import RunFolder
from didact.record.observing import Observers
from didact.tensors import Batch, Loss, move
from didact.timing import span
from didact.training.collapse import CollapseWatch, Moments, standard_deviation
from didact.training.diagnosis import copy_buffers, put_back_buffers
from didact.training.memory import does_not_fit, ran_out
from didact.training.nonfinite import Nonfinite, all_finite
from didact.training.parallel import Engine, whole


class Trainer:
    """A learner on its way: the optimizer, the device, and how many steps were taken.

    Args:
        experiment: what is trained, and how.
        learner: the parts, at their initialisation.
        device: where to compute.
        world: the processes that share the work, each with a trainer of its own.
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
        self.step = 0
        self.nonfinite = Nonfinite(experiment, self.world)
        self.collapse = CollapseWatch(experiment.training, self.world)

    def fit(
        self,
        plan: BatchPlan,
        folder: RunFolder,
        observers: Observers,
        stop: StopRequest,
        evaluate: Callable[[int], Mapping[str, float]],
    ) -> None:
        """Trains to the end, or until somebody asks to stop.

        Args:
            plan: which samples make up each batch.
            folder: where checkpoints go.
            observers: told of logged steps and checkpoints.
            stop: seen after every step.
            evaluate: judges the network as it is after a step, and says what was found.

        Raises:
            RunError: the loss is not finite, or all has collapsed, and the experiment says to stop; a checkpoint cannot
                be written.
            RollBack: the loss is not finite and the experiment says to go back.
            DataError: a sample cannot be read.
        """
        training = self.experiment.training
        self.nonfinite.attach(folder, observers)
        self.collapse.attach(folder, observers)
        meter = Meter(self.device)
        batches = load(self.experiment, plan, self.step, world=self.world, pin=self.device.type == "cuda")
        stopping = self.world.any(bool(stop))
        if 0 < self.step < training.steps and not stopping and _due(self.step, training.evaluate_every):
            evaluate(self.step)  # if the run was stopped before it
        with closing(checkpoint.Writer(folder.checkpoints, training.retention, self.world)) as writer:
            while self.step < training.steps and not stopping:
                with span("data wait"):
                    batch = next(batches)
                known: dict[str, float] = {}
                logged = _due(self.step + 1, training.log_every) or self.step + 1 in (1, training.steps)
                if self.nonfinite.leaves_out(self.step + 1):
                    self.step += 1
                else:
                    scalars = self.take_step(batch, logged=logged)
                    meter.add(batch)
                    if logged:
                        known |= meter.read(scalars)
                        observers.notify("step_finished", step=self.step, metrics=known)
                        self.collapse.see(self.step, known)
                last = self.step == training.steps
                stopping = self.world.any(bool(stop))
                if not last and not stopping and _due(self.step, training.evaluate_every):
                    known |= evaluate(self.step)
                    meter.restart()
                    stopping = self.world.any(bool(stop))
                ends = last or stopping
                if ends or _due(self.step, training.checkpoint_every):
                    writer.begin(self.learner, self.optimizer, self.step, folder.experiment_data(), known)
                for written in writer.completed(wait=ends):
                    observers.notify("checkpoint_written", step=written.step, folder=str(written.folder))

    def take_step(self, batch: StepBatch, *, logged: bool = True) -> dict[str, Tensor | float]:
        """One optimizer step on this process's share of a global batch; all processes take it together.

        Args:
            batch: this process's share.
            logged: whether the scalars worth logging are wanted.

        Returns:
            those scalars, of the whole global batch, still on the device; nothing where they are not wanted.
        """
        training, learner = self.experiment.training, self.learner
        learner.train()
        seed_step(training.seed, self.step, self.world.rank)
        rate = set_learning_rate(self.optimizer, training, self.step)
        totals = self.world.all_reduce_counts(add_counts(learner.objective.counts(part) for part in batch.parts))
        buffers = copy_buffers(learner)
        self.optimizer.zero_grad(set_to_none=True)
        try:
            done = [self._backward(part, totals, last=part is batch.parts[-1], logged=logged) for part in batch.parts]
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            put_back_buffers(learner, buffers)
            self.optimizer.zero_grad(set_to_none=True)
            told = str(error).splitlines()[0]
            raise does_not_fit(f"step {self.step + 1}", told, self.experiment, begun=True) from error
        losses = [part.loss for part in done]
        norm = whole(gradient_norm(learner))
        finite = all_finite(norm, losses, self.world)
        if finite:
            if training.clip_norm is not None:
                clip_gradients(learner, norm, training.clip_norm)
            with span("optimizer"):
                self.optimizer.step()
        else:
            put_back_buffers(learner, buffers)
            self.nonfinite.handle(self, batch, totals)
        self.step += 1
        after = learner.after_step(self.step, training.steps) if finite else {}
        if not logged:
            return {}
        return {
            **self._losses(losses, totals),
            "train/gradient_norm": norm,
            "train/learning_rate": rate,
            "train/skipped_steps": float(self.nonfinite.count(self.step)),
            **losses[0].scalars,  # the objective's own, for the first part of the batch
            **self._spread(done),
            **after,
            "data/epoch": float(batch.epoch),
            "data/padding": batch.padding,
        }

    def gather(self) -> Learner:
        """The learner with the whole of its weights, on the main process, which judges; all must ask for it.

        The others are given their own, sharded as it is, and hold one whole tensor at a time.
        """
        if not self.engine.sharded:
            return self.learner
        gathered = build_learner(self.experiment).to(self.device) if self.world.main else None
        full = dict(named_tensors(gathered)) if gathered is not None else {}
        with torch.no_grad():
            for name, mine in named_tensors(self.learner):
                tensor = whole(mine)
                if gathered is not None:
                    full[name].copy_(tensor)
        return self.learner if gathered is None else gathered

    def restore(self, stored: checkpoint.Checkpoint) -> None:
        """Goes back to a checkpoint."""
        checkpoint.load(stored, self.learner, self.optimizer)
        self.step = stored.step

    def _backward(self, part: Batch, totals: Mapping[str, int], *, last: bool, logged: bool) -> _Done:
        batch = move(part, self.device)
        with self.engine.gathering(last):
            with autocast(self.device, self.precision):
                total, loss = self.engine(batch, totals)
            with span("backward"):
                total.backward()  # type: ignore[no-untyped-call]
        # of many parts, what was predicted would fill the memory that parts are to spare
        shown = {"prediction": loss.predictions, "target": loss.targets} if logged else {}
        moments = {name: Moments.of(values) for name, values in shown.items() if values is not None}
        return _Done(loss=attrs.evolve(loss, predictions=None, targets=None), moments=moments)

    def _losses(self, losses: list[Loss], totals: Mapping[str, int]) -> dict[str, Tensor]:
        """The loss, and where it has several terms each of them, over the whole global batch."""
        names = list(losses[0].terms)
        sums = torch.stack(
            [torch.stack([loss.terms[name].detach().float() for loss in losses]).sum() for name in names]
        )
        counts = torch.tensor([max(1, totals[name]) for name in names], device=self.device)
        terms = self.world.all_reduce(sums / counts)
        each = {f"train/{name}": term for name, term in zip(names, terms, strict=True)} if len(names) > 1 else {}
        return {"train/loss": terms.sum(), **each}

    def _spread(self, done: list[_Done]) -> dict[str, Tensor]:
        """How much targets and predictions vary."""
        return {
            f"collapse/{name}_std": standard_deviation([part.moments[name] for part in done], self.world)
            for name in done[0].moments
        }


@attrs.frozen(kw_only=True, eq=False)
class _Done:
    """What is kept of one part of a batch whose gradient is taken.

    Attributes:
        loss: without predictions and targets.
        moments: of those, where they are asked for and shown.
    """

    loss: Loss
    moments: Mapping[str, Moments]


class Meter:
    """What is logged: the step's own scalars, which follow from the seed alone, and rates since the last record."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.restart()

    def restart(self) -> None:
        """Forgets what was added, and how long ago."""
        self._since, self._steps, self._samples = time.perf_counter(), 0, 0

    def add(self, batch: StepBatch) -> None:
        """Takes in one step."""
        self._steps += 1
        self._samples += batch.samples

    def read(self, scalars: Mapping[str, Tensor | float]) -> dict[str, float]:
        """The metrics as numbers: a step's scalars, and the rates since the last reading."""
        metrics = {name: float(value) for name, value in scalars.items()}
        elapsed = time.perf_counter() - self._since
        metrics["time/step_seconds"] = elapsed / self._steps
        metrics["time/samples_per_second"] = self._samples / elapsed
        metrics["memory/peak_gib"] = peak_memory(self.device) / 2**30
        self.restart()
        return metrics


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
