"""An experiment: the parts of a method, their data, their training, and the evaluations and observers of a run."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Set
from typing import Any, ClassVar, Literal

import attrs
import torch

from didact.contracts.data import Source
from didact.contracts.network import Backbone, FeatureEncoder, Masker, Network
from didact.contracts.targets import Objective, TargetBuilder
from didact.errors import SpecError, of_field
from didact.learner import Learner
from didact.machine.devices import autocast
from didact.machine.distributed import World
from didact.randomness import seeded
from didact.serialization import fingerprint
from didact.spec import Spec
from didact.tensors import Batch, Loss, StudentPass, Target, move
from didact.training import Training

# fields that do not affect the weights, or only affect how they are computed
BESIDE_THE_METHOD = ("name", "evaluations", "observers", "labels")
KEPT = ("checkpoint_every", "keep_checkpoints", "keep_every", "keep_best", "patience")
BESIDE_THE_STEPS = (*KEPT, "num_workers", "log_every", "evaluate_every", "collapse")
HOW_COMPUTED = ("gradient_accumulation_steps", "strategy", "activation_checkpointing", "compile")
NONFINITE = ("nonfinite", "nonfinite_limit")


@attrs.frozen(kw_only=True)
class Pretrained(Spec):
    """Initial weights, taken from the encoder and backbone of another run.

    Targets, teacher and objective are built from these weights, so a teacher starts as a copy. The optimizer and its
    schedule start anew. The other run is read before the first step and is not needed after the first checkpoint.

    Attributes:
        run: the other run's folder; a relative path is resolved against the working directory.
        step: the step of the checkpoint to load; None loads the newest undamaged checkpoint.
        network: the network to load; ``teacher`` loads the student if the other run's method has no teacher.
    """

    run: str
    step: int | None = None
    network: Literal["student", "teacher"] = "teacher"

    def validate(self) -> None:
        self.require(bool(self.run.strip()), "run", "the folder of a run")
        self.require(self.step is None or self.step >= 0, "step", "at least 0, or None")


@attrs.frozen(kw_only=True)
class Experiment(Spec):
    """A method, its data and its training: everything that defines a run.

    Attributes:
        name: the experiment's name; its runs are stored in a folder of this name.
        source: the samples to learn from.
        encoder: converts raw input to a sequence of vectors. A tuple has one encoder for each view, for sources whose
            views differ in their signal, such as images and captions; masker and backbone are then tuples as well.
        masker: selects the positions that are hidden from the student; None hides nothing (methods that compare views).
            A tuple has one masker, or None, for each view.
        backbone: relates the positions to each other.
        targets: builds the targets that the student must predict.
        objective: compares predictions with targets.
        training: the number of steps, the batch size and the optimizer's settings.
        weights: the network's initial weights, `Pretrained` in another run; None starts from random weights.
        evaluations: the evaluations of the representation, by name; their metrics are called ``name/metric``.
        observers: the observers of the run, in addition to the terminal and the run's own folder.
        labels: labels for trackers and comparisons, such as the name of a study; they do not affect the run.
    """

    name: str
    source: Source
    encoder: FeatureEncoder | tuple[FeatureEncoder, ...]
    masker: Masker | tuple[Masker | None, ...] | None = None
    backbone: Backbone | tuple[Backbone, ...]
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
            what = f"training.gradient_accumulation_steps must be 1 with {whole}, got {parts}"
            hint = f"{whole} computes a function of the whole batch, which is not a sum over parts of it"
            raise SpecError(what, where="training.gradient_accumulation_steps", hint=hint)
        with of_field("training"):
            self.training.intervals(self.evaluations)  # checks them
        unit = self.training.batch.unit
        if unit not in ("samples", self.source.unit):
            what = f"training.batch is given in {unit}, but {type(self.source).__name__} counts {self.source.unit}"
            raise SpecError(what, where="training.batch", hint=f"give it in {self.source.unit} or in samples")

    def of_view(self, view: int) -> tuple[FeatureEncoder, Masker | None, Backbone]:
        """Returns the encoder, the masker and the backbone of view number ``view``."""
        encoder = self.encoder[view] if isinstance(self.encoder, tuple) else self.encoder
        masker = self.masker[view] if isinstance(self.masker, tuple) else self.masker
        return encoder, masker, self.backbone[view] if isinstance(self.backbone, tuple) else self.backbone

    def needs_whole_batch(self) -> str | None:
        """Returns the class name of a part that needs a whole batch at once; None if there is no such part."""
        backbones = self.backbone if isinstance(self.backbone, tuple) else (self.backbone,)
        parts: tuple[Backbone | TargetBuilder | Objective, ...] = (*backbones, self.targets, self.objective)
        return next((type(part).__name__ for part in parts if not part.supports_accumulation), None)


@attrs.frozen(kw_only=True)
class Report:
    """The result of an evaluation.

    Attributes:
        metrics: ``name → value``; the run prefixes each name with the evaluation's name in the experiment.
        files: ``name → content``; images, texts and audio to keep. A name ends in its format: ``inputs.png``,
            ``table.txt`` (UTF-8, Markdown or plain), ``sound-1.wav``.
    """

    metrics: Mapping[str, float]
    files: Mapping[str, bytes] = attrs.field(factory=dict)


def metrics_of(reports: Mapping[str, Report]) -> dict[str, float]:
    """Returns the metrics of some evaluations, given their reports by name, as ``evaluation/metric``."""
    return {f"{name}/{metric}": value for name, report in reports.items() for metric, value in report.metrics.items()}


@attrs.frozen(eq=False)
class RunState:
    """The state that is evaluated: the networks of a run at one step, whole on each process.

    Attributes:
        experiment: the run's experiment.
        learner: the network, its targets and its objective.
        initial: builds the randomly initialised network.
        device: the device of the networks.
        precision: the precision of matrix products.
        step: number of optimizer steps taken.
        finished: whether training has ended; an evaluation may leave its controls to then.
        world: the processes that share the work of the evaluation.
    """

    experiment: Experiment
    learner: Learner
    initial: Callable[[], Network]
    device: torch.device
    precision: torch.dtype
    step: int
    finished: bool
    world: World = World()

    def student(self) -> Network:
        """Returns the student in evaluation mode."""
        return self.learner.evaluated("student")

    def teacher(self) -> Network:
        """Returns the teacher in evaluation mode; the student if the method has no teacher."""
        return self.learner.evaluated("teacher")

    def untrained(self) -> Network:
        """Returns the randomly initialised network, even if the run starts from trained weights, as a control."""
        return self.initial().to(self.device).eval()

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[tuple[StudentPass, ...], tuple[Target, ...]]:
        """Returns the student's passes over a batch and the batch's targets, as in training but in evaluation mode.

        All processes must call this together, each with its share of a global batch: parts may use collectives.
        """
        self.world.barrier()  # raises if a process has failed, before parts use collectives
        learner, batch = self.learner.eval(), move(batch, self.device)
        with autocast(self.device, self.precision):
            passes = learner.passes(batch)
            return passes, learner.targets(batch, passes, learner.network)

    @torch.no_grad()
    def predict(self, batch: Batch) -> Loss:
        """Returns the loss on a batch in evaluation mode, equal in every call, and the compared vectors (N, D).

        All processes must call this together, as for ``targets``.
        """
        passes, targets = self.targets(batch)
        with autocast(self.device, self.precision), seeded(self.experiment.training.seed, "predict"):
            loss: Loss = self.learner.objective(move(batch, self.device), passes, targets)
        return loss


@attrs.frozen(kw_only=True)
class Evaluation(Spec, abc.ABC):
    """Evaluates a network at the end of training and, if the experiment specifies it, during training."""

    def prepare(self, experiment: Experiment) -> None:
        """Makes and checks what the evaluation needs; called before the first step, to report a missing store early.

        Raises:
            DataError: a source of the evaluation cannot be used.
            SpecError: the evaluation does not fit the experiment.
        """

    @abc.abstractmethod
    def evaluate(self, state: RunState) -> Report:
        """Evaluates a run's state; labels come from the evaluation's own sources. The main process's report counts.

        All processes call this together, and may share the work (``state.world``). An error of one process ends the
        evaluation on all of them. They notice at once in ``state.world.all_gather``, ``broadcast`` and ``barrier``, in
        ``state.targets`` and ``state.predict``, and at the end. A part that fails on one process between two
        collectives of its own is only noticed after `didact.machine.distributed.PATIENCE`.
        """


@attrs.frozen(kw_only=True)
class Observer(Spec, abc.ABC):
    """Observes a run; active only in runs whose experiment lists the observer.

    Class attributes:
        everywhere: whether every process builds the observer and calls its hooks; otherwise only the main process does.
    """

    everywhere: ClassVar[bool] = False

    @abc.abstractmethod
    def build(self) -> Any:
        """Returns an object whose ``@hookimpl`` methods implement lifecycle hooks of `didact.hookspecs`."""


def continues(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Returns whether a run of experiment ``before`` may be resumed as experiment ``after``.

    Both are plain data (`Registry.data_of`). They may differ in fields on which no step depends, in how a step is
    computed (which affects only the order of sums and the random numbers that PyTorch draws for whole tensors), and in
    how steps that are not finite are handled.
    """
    beside = {*BESIDE_THE_STEPS, *HOW_COMPUTED, *NONFINITE}
    return fingerprint(without(before, beside)) == fingerprint(without(after, beside))


def without(data: Mapping[str, Any], beside: Set[str]) -> dict[str, Any]:
    """Returns the experiment without the fields that do not affect the method and without some training fields."""
    training = {field: value for field, value in data["training"].items() if field not in beside}
    return {field: value for field, value in {**data, "training": training}.items() if field not in BESIDE_THE_METHOD}
