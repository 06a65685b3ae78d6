"""The training settings of an experiment: number of steps, batch size, optimizer, checkpoints and failures."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Literal

import attrs

from didact.contracts.optimizer import Optimizer, ParameterGroup
from didact.errors import SpecError, did_you_mean
from didact.schedules import Cosine, Schedule
from didact.spec import Spec, field_documentation


@attrs.frozen(kw_only=True)
class BatchSize(Spec):
    """The size of a global batch: the data of one optimizer step, on any number of devices.

    For example, ``batch=BatchSize.seconds(3_800)``.

    Attributes:
        amount: the amount, in ``unit``.
        unit: ``samples``, or the unit in which the source counts length.
    """

    amount: float
    unit: str

    def validate(self) -> None:
        self.require(self.amount > 0, "amount", "above 0")
        if self.unit == "samples":
            self.require(self.amount == int(self.amount), "amount", "a whole number of samples")

    @classmethod
    def samples(cls, amount: int) -> BatchSize:
        """Sets a number of samples per batch, of any lengths."""
        return cls(amount=amount, unit="samples")

    @classmethod
    def seconds(cls, amount: float) -> BatchSize:
        """Sets a number of seconds per batch; the samples of a batch have similar lengths."""
        return cls(amount=amount, unit="seconds")

    @classmethod
    def tokens(cls, amount: int) -> BatchSize:
        """Sets a number of tokens per batch; the samples of a batch have similar lengths."""
        return cls(amount=amount, unit="tokens")


@attrs.frozen(kw_only=True)
class Training(Spec):
    """The training settings of an experiment.

    Attributes:
        steps: number of optimizer steps.
        batch: the size of the global batch: `BatchSize.samples`, `BatchSize.seconds` or `BatchSize.tokens`.
        optimizer: the optimizer, with its peak learning rate and weight decay: `AdamW`, or a plugin's.
        schedule: the schedule of the learning rate: `Cosine`, `Constant`, or a plugin's.
        weight_decay_schedule: the schedule of the weight decay; None keeps it constant. DINO's rises from 0.04 to 0.4:
            ``Cosine(initial=0.1, final=1.0)`` with a weight decay of 0.4.
        layer_decay: the factor on the learning rate from a layer to the one below, from the parts above the backbone's
            blocks (1.0) down to the encoder; 0.65 in BEiT's fine-tuning. From ELECTRA (Clark et al. 2020).
        parameter_groups: parameters with settings of their own, also frozen ones. The first group that matches applies.
        max_grad_norm: maximum norm of the gradient; None does not clip.
        gradient_accumulation_steps: number of parts of one global batch that one process computes one after the other,
            to save memory; the gradient stays the same. Several processes share the parts, as they share the batch.
        strategy: how several processes (`torchrun`) hold the weights. ``ddp``: each process holds all weights.
            ``fsdp``: each process holds a shard of the weights, the teacher and the optimizer state, for models whose
            gradients and optimizer state do not fit on one GPU. The weights and the teacher must still fit on one GPU
            when a run starts and when it is evaluated.
        activation_checkpointing: whether blocks are recomputed in the backward pass instead of stored. This saves
            memory and takes a third more time.
        precision: ``auto`` computes in bfloat16 if the device has instructions for it. Weights, teacher, targets,
            losses and the optimizer are always float32.
        compile: whether the backbone's blocks are compiled, which takes a minute and pays off in long runs.
        seed: the seed of all random numbers.
        num_workers: number of processes that load data; 0 loads data between the steps.
        log_every: number of steps between two records of metrics; the steps of checkpoints are recorded too.
        checkpoint_every: number of steps between checkpoints; None writes one at the end. SIGTERM also writes one.
        keep_checkpoints: number of the newest checkpoints to keep.
        keep_every: also write and keep the checkpoints of steps that are multiples of this; None keeps none of them.
        keep_best: also keep the checkpoint with the highest value of this metric, such as ``digits/linear``; a minus
            prefers the lowest, as in ``-train/loss``. If the metric is an evaluation's, each evaluation has a
            checkpoint. None keeps none.
        patience: the run ends early, as finished, after this many values in a row (one for each evaluation, or for each
            logged step if ``keep_best`` is logged) that do not improve on the best value of ``keep_best``. A resumed
            run may change it, for example to continue. None takes all steps.
        evaluate_every: number of steps between evaluations; None evaluates at the end.
        nonfinite: the reaction to a loss or gradient that is not finite. ``stop`` ends the run with a checkpoint of the
            step before. ``skip`` leaves the step out and counts it. ``rollback`` returns to the last checkpoint and
            leaves the step out when the run reaches it again; if a weight itself is not finite, the step that caused
            this is left out.
        nonfinite_limit: most consecutive steps that ``skip`` and ``rollback`` leave out; one more ends the run.
        collapse: the reaction if targets or predictions cease to vary. ``warn`` reports the collapse, ``stop`` ends the
            run with a checkpoint, ``ignore`` does nothing.
    """

    steps: int
    batch: BatchSize
    optimizer: Optimizer
    schedule: Schedule = Cosine()
    weight_decay_schedule: Schedule | None = None
    layer_decay: float = 1.0
    parameter_groups: tuple[ParameterGroup, ...] = ()
    max_grad_norm: float | None = None
    gradient_accumulation_steps: int = 1
    strategy: Literal["ddp", "fsdp"] = "ddp"
    activation_checkpointing: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    seed: int = 0
    num_workers: int = 1
    log_every: int = 10
    checkpoint_every: int | None = None
    keep_checkpoints: int = 2
    keep_every: int | None = None
    keep_best: str | None = None
    patience: int | None = None
    evaluate_every: int | None = None
    nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    nonfinite_limit: int = 10
    collapse: Literal["warn", "stop", "ignore"] = "warn"

    def validate(self) -> None:
        for field in ("steps", "gradient_accumulation_steps", "log_every", "keep_checkpoints", "nonfinite_limit"):
            self.require(getattr(self, field) >= 1, field, "at least 1")
        self.require(self.num_workers >= 0, "num_workers", "at least 0")
        self.require(0 < self.layer_decay <= 1, "layer_decay", "above 0 and at most 1")
        self.require(self.max_grad_norm is None or self.max_grad_norm > 0, "max_grad_norm", "above 0, or None")
        for field in ("checkpoint_every", "keep_every", "evaluate_every", "patience"):
            self.require(getattr(self, field) is None or getattr(self, field) >= 1, field, "at least 1, or None")

    @property
    def best_metric(self) -> str:
        """The name of the metric in ``keep_best``; empty without one."""
        return (self.keep_best or "").removeprefix("-")

    def keeps(self, steps: Collection[int], values: Mapping[int, float]) -> set[int]:
        """Returns the steps of the checkpoints to keep.

        Args:
            steps: the steps that have a checkpoint.
            values: the values of ``keep_best`` by step; higher is better. Among equal ones, the newer is kept.
        """
        best = [(values[step], step) for step in steps if values.get(step, -math.inf) > -math.inf]
        regular = {step for step in steps if self.keep_every and step % self.keep_every == 0}
        return {*sorted(steps)[-self.keep_checkpoints :], *regular, *([max(best)[1]] if best else [])}

    def unknown_best(self, found: Collection[str]) -> str | None:
        """Returns a warning if ``keep_best`` is a metric that its evaluation did not report; otherwise None."""
        names = [metric for metric in found if metric.partition("/")[0] == self.best_metric.partition("/")[0]]
        if not names or self.best_metric in names:
            return None
        near = did_you_mean(self.best_metric, names)
        return f"no checkpoint is kept for training.keep_best={self.keep_best}, which no evaluation reports: {near}"

    def intervals(self, evaluations: Collection[str]) -> tuple[int, ...]:
        """Returns the intervals, in steps, of the checkpoints: those to write, and those that may have to be kept.

        ``evaluations`` are the names of the experiment's evaluations.

        Raises:
            SpecError: a field needs another one, which is None.
        """
        evaluated, patient = self.best_metric.partition("/")[0] in evaluations, self.patience is not None
        for field, other, needed in (
            ("nonfinite", "checkpoint_every", self.nonfinite == "rollback"),  # to go back to
            ("keep_best", "checkpoint_every", self.keep_best is not None and not evaluated),
            ("patience", "keep_best", patient),
            ("patience", "evaluate_every", patient and evaluated),
        ):
            if needed and getattr(self, other) is None:
                what = f"training.{field}={getattr(self, field)} needs training.{other}, got None"
                raise SpecError(what, where=other, hint=field_documentation(type(self))[other])
        every = (self.checkpoint_every, self.keep_every, self.evaluate_every if evaluated else None)
        return tuple(filter(None, every))
