"""An experiment: five answers, their data, and how to train them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import attrs

from didact.contracts import Backbone, Evaluation, FeatureEncoder, Masker, Objective, Observer, Source, TargetBuilder
from didact.errors import SpecError, of_field
from didact.preflight import Finding, Preflight
from didact.retention import Retention, require_what_is_kept
from didact.schedules import Cosine, Schedule
from didact.spec import Spec

LONGEST_WITHOUT_CHECKPOINT = 10_000  # steps


@attrs.frozen(kw_only=True)
class BatchSize(Spec):
    """The size of a global batch: what one optimizer step learns from, on any number of devices.

    Written with `samples`, `seconds`, `tokens`: ``batch=seconds(3_800)``.

    Attributes:
        amount: how much.
        unit: of what: ``samples``, or the unit in which the source counts length.
    """

    amount: float
    unit: str

    def validate(self) -> None:
        self.require(self.amount > 0, "amount", "above 0")
        if self.unit == "samples":
            self.require(self.amount == int(self.amount), "amount", "a whole number of samples")


def samples(amount: int) -> BatchSize:
    """A batch of so many samples, however long they are."""
    return BatchSize(amount=amount, unit="samples")


def seconds(amount: float) -> BatchSize:
    """A batch of so many seconds, of samples of similar length."""
    return BatchSize(amount=amount, unit="seconds")


def tokens(amount: int) -> BatchSize:
    """A batch of so many tokens, of samples of similar length."""
    return BatchSize(amount=amount, unit="tokens")


@attrs.frozen(kw_only=True)
class Training(Spec):
    """How long, on how much, and with which AdamW.

    Attributes:
        steps: optimizer steps.
        batch: the global batch; `samples`, `seconds` or `tokens`.
        learning_rate: at the schedule's peak.
        schedule: of the learning rate; `Cosine`, `TriStage` or `Constant`.
        betas: of AdamW.
        epsilon: of AdamW.
        weight_decay: decoupled, as in AdamW.
        decay_vectors: whether biases, norms and other vectors are decayed too (fairseq does; BEiT does not).
        clip_norm: largest norm of the gradient; None leaves it as it is.
        micro_batches: parts in which one process would compute a global batch, for less memory; the gradient stays the
            same. Several processes share the parts, as they share the batch.
        parallel: how several processes (`torchrun`) hold the weights. ``ddp``: each has all of them. ``fsdp``: each
            has its shard, the teacher's and the optimizer's too, for models whose gradients and optimizer state one
            GPU cannot hold; the weights alone, the teacher's too, must still fit when a run begins and is judged.
        recompute: whether blocks are computed again in the backward pass instead of kept, for less memory; costs a
            third more time.
        precision: ``auto`` computes in bfloat16 where the device has instructions for it. Weights, teacher, targets,
            losses and the optimizer are float32 in any case.
        compile: whether the backbone's blocks are compiled, which costs a minute and gains on long runs.
        seed: of everything random.
        workers: processes that load data; 0 loads between the steps.
        log_every: steps between two records of metrics.
        checkpoint_every: steps between two checkpoints; None writes one at the end. One is written on SIGTERM too.
        keep_checkpoints: how many of the newest are kept.
        keep_every: the checkpoints of every so many steps are kept besides; None keeps none of them.
        keep_best: a metric, such as ``digits/linear`` or, lowest first, ``-train/loss``: the checkpoint that is best by
            it is kept besides; None keeps none.
        evaluate_every: steps between two evaluations; None evaluates at the end.
        nonfinite: what a loss or gradient that is not finite does: ``stop`` ends the run with a checkpoint of the step
            before, ``skip`` leaves that step out and counts it, ``rollback`` goes back to the last checkpoint and
            leaves that step's batch out when it comes to it again; where a weight itself is not finite, the step that
            made it so.
        nonfinite_limit: steps in a row that ``skip`` and ``rollback`` leave out; with one more the run ends.
        collapse: what targets or predictions that have ceased to vary do: ``warn`` says so, ``stop`` ends the run with
            a checkpoint, ``ignore`` nothing.
    """

    steps: int
    batch: BatchSize
    learning_rate: float
    schedule: Schedule = Cosine()
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    decay_vectors: bool = False
    clip_norm: float | None = None
    micro_batches: int = 1
    parallel: Literal["ddp", "fsdp"] = "ddp"
    recompute: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    seed: int = 0
    workers: int = 1
    log_every: int = 10
    checkpoint_every: int | None = None
    keep_checkpoints: int = 2
    keep_every: int | None = None
    keep_best: str | None = None
    evaluate_every: int | None = None
    nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    nonfinite_limit: int = 10
    collapse: Literal["warn", "stop", "ignore"] = "warn"

    def validate(self) -> None:
        self.require(self.steps >= 1, "steps", "at least 1")
        self.require(self.learning_rate >= 0, "learning_rate", "at least 0")
        self.require(all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers from 0 up to but not 1")
        self.require(self.epsilon > 0, "epsilon", "above 0")
        self.require(self.weight_decay >= 0, "weight_decay", "at least 0")
        self.require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", "above 0, or None")
        self.require(self.micro_batches >= 1, "micro_batches", "at least 1")
        self.require(self.workers >= 0, "workers", "at least 0")
        self.require(self.log_every >= 1, "log_every", "at least 1")
        self.require(self.keep_checkpoints >= 1, "keep_checkpoints", "at least 1")
        self.require(self.nonfinite_limit >= 1, "nonfinite_limit", "at least 1")
        if self.nonfinite == "rollback" and self.checkpoint_every is None:
            raise SpecError(
                "training.nonfinite=rollback needs training.checkpoint_every, got None",
                where="checkpoint_every",
                mend="say after how many steps there is a checkpoint to go back to; 1000, say",
            )
        for field in ("checkpoint_every", "keep_every", "evaluate_every"):
            self.require(getattr(self, field) is None or getattr(self, field) >= 1, field, "at least 1, or None")

    @property
    def retention(self) -> Retention:
        """Which checkpoints are kept."""
        return Retention(last=self.keep_checkpoints, every=self.keep_every, best=self.keep_best)

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        for field, what in (("checkpoint_every", "checkpoint"), ("evaluate_every", "evaluation")):
            every = getattr(self, field)
            if every is not None and every > self.steps:
                yield Finding.warning(
                    f"there is no {what} but the last: one every {every:,} steps in a run of {self.steps:,}",
                    where=field,
                    mend=f"{field}={max(1, self.steps // 10)} makes ten, None says that the last is enough",
                )
        if self.checkpoint_every is None and self.steps > LONGEST_WITHOUT_CHECKPOINT:
            yield Finding.warning(
                f"a run of {self.steps:,} steps that is killed loses all of them: its only checkpoint is the last",
                where="checkpoint_every",
                mend=f"checkpoint_every={self.steps // 100}",
            )
        if self.micro_batches > preflight.samples_per_step.smallest:
            fewest = preflight.samples_per_step.smallest
            yield Finding.warning(
                f"a batch of {fewest:.0f} samples cannot be computed in {self.micro_batches} parts, so it takes "
                f"{fewest:.0f}",
                where="micro_batches",
                mend=f"at most {fewest:.0f}, or a larger batch",
            )


@attrs.frozen(kw_only=True)
class Pretrained(Spec):
    """What another run has trained, as the weights to start from: those of its network, encoder and backbone.

    Targets, teacher and objective are made anew around them, so that a teacher begins as a copy; so are the optimizer
    and its schedule. The run that they are from is read once, before the first step, and not needed after the first
    checkpoint.

    Attributes:
        run: the other run's folder; a relative one is looked for where didact was started.
        step: of one of its checkpoints; None takes the newest that is whole.
        network: which of its networks; ``teacher`` takes the student's weights where its method has no teacher.
    """

    run: str
    step: int | None = None
    network: Literal["student", "teacher"] = "teacher"

    def validate(self) -> None:
        self.require(bool(self.run.strip()), "run", "the folder of a run")
        self.require(self.step is None or self.step >= 0, "step", "at least 0, or None")


@attrs.frozen(kw_only=True)
class Experiment(Spec):
    """One method, its data and its training: everything that a run does.

    Attributes:
        name: of the experiment; its runs lie in a folder of that name.
        source: what it learns from.
        encoder: how raw input becomes a sequence of vectors.
        masker: which positions the student must not see; None hides nothing (methods that compare views).
        backbone: what contextualises the sequence.
        targets: what is to be predicted.
        objective: how a prediction is compared with its target.
        training: how long, on how much, with which optimizer.
        weights: from which the network starts, `Pretrained` by another run; None starts at random.
        evaluations: what judges the representation, by name; their metrics are called ``name/metric``.
        observers: what watches the run, beside the terminal and the run's own folder.
        labels: what trackers and comparisons know the run by, such as the study that it is part of; no bearing on what
            it does.
    """

    name: str
    source: Source
    encoder: FeatureEncoder
    masker: Masker | None = None
    backbone: Backbone
    targets: TargetBuilder
    objective: Objective
    training: Training
    weights: Pretrained | None = None
    evaluations: Mapping[str, Evaluation] = attrs.field(factory=dict)
    observers: tuple[Observer, ...] = ()
    labels: Mapping[str, str | int | float] = attrs.field(factory=dict)

    def validate(self) -> None:
        fits = bool(self.name) and all(character.isalnum() or character in "-_." for character in self.name)
        self.require(fits and self.name[0] != ".", "name", "letters, digits, '-', '_' and '.'")
        if self.training.micro_batches > 1 and (whole := self.needs_whole_batch()):
            raise SpecError(
                f"training.micro_batches must be 1 with {whole}, got {self.training.micro_batches}",
                where="training.micro_batches",
                mend="what it computes is a function of the whole batch, which is not a sum over its parts",
            )
        with of_field("training"):
            require_what_is_kept(self.training, self.evaluations)
        unit = self.training.batch.unit
        if unit not in ("samples", self.source.unit):
            raise SpecError(
                f"training.batch is given in {unit}, but {type(self.source).__name__} counts {self.source.unit}",
                where="training.batch",
                mend=f"give it in {self.source.unit} or in samples",
            )

    def needs_whole_batch(self) -> str | None:
        """The part that needs a whole batch at once; None where a batch may be computed in micro-batches."""
        parts = (self.backbone, self.targets, self.objective)
        return next((type(part).__name__ for part in parts if not part.divisible), None)
