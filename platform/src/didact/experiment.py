"""An experiment: five answers, their data, how to train them, and who evaluates and observes the result."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Set
from typing import Any, ClassVar, Literal, Protocol

import attrs
import torch
from torch import Tensor

from didact.contracts.data import Source
from didact.contracts.network import Backbone, FeatureEncoder, Masker, Network
from didact.contracts.targets import Objective, TargetBuilder
from didact.errors import SpecError, of_field
from didact.serialization import fingerprint
from didact.spec import Spec
from didact.tensors import Audio, Batch, Loss, StudentPass, Target
from didact.training import Training

# what decides no weight, or only how they are computed
BESIDE_THE_METHOD = ("name", "evaluations", "observers", "labels")
KEPT = ("checkpoint_every", "keep_checkpoints", "keep_every", "keep_best")
BESIDE_THE_STEPS = (*KEPT, "num_workers", "log_every", "evaluate_every", "collapse")
HOW_COMPUTED = ("gradient_accumulation_steps", "strategy", "activation_checkpointing", "compile")
NONFINITE = ("nonfinite", "nonfinite_limit")


@attrs.frozen(kw_only=True)
class Pretrained(Spec):
    """Weights of another run to start from: those of its network, encoder and backbone.

    Targets, teacher and objective are built around them, so a teacher starts as a copy; the optimizer and its schedule
    start anew. The other run is read once, before the first step, and not needed after the first checkpoint.

    Attributes:
        run: the other run's folder; a relative path is resolved where didact was started.
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
        name: of the experiment; its runs are in a folder of that name.
        source: the samples to learn from.
        encoder: how raw input becomes a sequence of vectors.
        masker: which positions the student must not see; None hides nothing (methods that compare views).
        backbone: what relates the positions to each other.
        targets: what is to be predicted.
        objective: how a prediction is compared with its target.
        training: how long, on how much, with which optimizer.
        weights: the network's first weights, `Pretrained` by another run; None starts at random.
        evaluations: what evaluates the representation, by name; their metrics are called ``name/metric``.
        observers: what observes the run, beside the terminal and the run's own folder.
        labels: what trackers and comparisons know the run by, such as its study; no effect on the run.
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
        parts = self.training.gradient_accumulation_steps
        if parts > 1 and (whole := self.needs_whole_batch()):
            raise SpecError(
                f"training.gradient_accumulation_steps must be 1 with {whole}, got {parts}",
                where="training.gradient_accumulation_steps",
                hint=f"{whole} computes a function of the whole batch, which is not a sum over parts of it",
            )
        with of_field("training"):
            self.training.require_what_is_kept(self.evaluations)
        unit = self.training.batch.unit
        if unit not in ("samples", self.source.unit):
            raise SpecError(
                f"training.batch is given in {unit}, but {type(self.source).__name__} counts {self.source.unit}",
                where="training.batch",
                hint=f"give it in {self.source.unit} or in samples",
            )

    def needs_whole_batch(self) -> str | None:
        """The part that needs a whole batch at once; None where a batch may be computed in parts."""
        parts = (self.backbone, self.targets, self.objective)
        return next((type(part).__name__ for part in parts if not part.supports_accumulation), None)


@attrs.frozen(kw_only=True)
class Report:
    """The result of an evaluation.

    Attributes:
        metrics: ``name → value``; the experiment's name for the evaluation is put before them.
        images: ``name → (H, W, 3) uint8``.
        texts: ``name → text``, Markdown or plain.
        audio: ``name → audio``.
    """

    metrics: Mapping[str, float]
    images: Mapping[str, Tensor] = attrs.field(factory=dict, eq=False)
    texts: Mapping[str, str] = attrs.field(factory=dict)
    audio: Mapping[str, Audio] = attrs.field(factory=dict, eq=False)


class RunState(Protocol):
    """What is evaluated: the networks of a run at a step."""

    experiment: Experiment
    step: int
    device: torch.device

    def student(self) -> Network:
        """The student, in evaluation mode."""

    def teacher(self) -> Network:
        """The teacher, in evaluation mode; the student where the method has no teacher."""

    def untrained(self) -> Network:
        """The network at its random initialisation, even where the run starts from trained weights: the control."""

    def targets(self, batch: Batch) -> tuple[tuple[StudentPass, ...], tuple[Target, ...]]:
        """The student's passes over a batch and its targets, as in training but in evaluation mode."""

    def predict(self, batch: Batch) -> Loss:
        """The objective's loss on a batch in evaluation mode, the same at every call; holds what it compared (N, D)."""


@attrs.frozen(kw_only=True)
class Evaluation(Spec, abc.ABC):
    """Evaluates a network, at the end of training and, where the experiment says so, during it."""

    def prepare(self, experiment: Experiment) -> None:
        """Makes and checks what it needs before the experiment's first step, so that a missing store is reported then.

        Raises:
            DataError: a source of its own cannot be used.
            SpecError: it does not fit the experiment.
        """

    @abc.abstractmethod
    def evaluate(self, state: RunState) -> Report:
        """The result. Labels come from sources of the evaluation's own."""


@attrs.frozen(kw_only=True)
class Observer(Spec, abc.ABC):
    """Observes a run; acts only in the runs whose experiment lists it.

    Class attributes:
        everywhere: whether every process of a run builds it and calls its hooks; else the main process alone does.
    """

    everywhere: ClassVar[bool] = False

    @abc.abstractmethod
    def build(self) -> Any:
        """An object whose ``@hookimpl`` methods are lifecycle hooks of `didact.hookspecs`."""


def continues(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a run of one experiment may be resumed as another.

    Beside what no step depends on, they may differ in how a step is computed, which decides no more than the order of
    its sums and what PyTorch draws for whole tensors, and in what happens to steps that are not finite. Both are
    experiments as plain data (`Registry.data_of`).
    """
    beside = {*BESIDE_THE_STEPS, *HOW_COMPUTED, *NONFINITE}
    return fingerprint(without(before, beside)) == fingerprint(without(after, beside))


def without(data: Mapping[str, Any], beside: Set[str]) -> dict[str, Any]:
    """The experiment without what is beside the method and without some fields of its training."""
    training = {field: value for field, value in data["training"].items() if field not in beside}
    return {field: value for field, value in {**data, "training": training}.items() if field not in BESIDE_THE_METHOD}
