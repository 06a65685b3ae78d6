"""The contracts: what each part of a method promises to the others.

A part comes in two halves. The *spec* is the frozen value that an experiment composes; the *module* is what its
``build`` makes, an `nn.Module` with parameters. Parts are built from upstream to downstream, and see only what is
upstream of them::

    Source ─▶ FeatureEncoder ─▶ Backbone ─▶ TargetBuilder ─▶ Objective
                    Masker ─┘

`didact.learner` is where they meet.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs
import torch
from torch import Tensor, nn

from didact.sounds import Sound
from didact.spec import Spec
from didact.tensors import (
    Attention,
    Batch,
    BatchMask,
    Collect,
    Context,
    Layout,
    Loss,
    Mask,
    Signal,
    StudentPass,
    Target,
    Tokens,
    View,
)

if TYPE_CHECKING:
    import numpy as np

    from didact.experiment import Experiment
    from didact.learner import Network


# ── 1. How does raw input become a sequence of vectors? ───────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class FeatureEncoder(Spec, abc.ABC):
    """Turns a sample's content into a sequence of vectors.

    Attributes:
        width: D, the size of each vector.
    """

    width: int

    @abc.abstractmethod
    def layout(self, size: tuple[int, ...]) -> Layout:
        """How many positions a sample gets, and how they are arranged, known without weights.

        Args:
            size: the shape of the sample's content, without the batch.

        Raises:
            SpecError: a sample of this size gives no position.
        """

    @abc.abstractmethod
    def build(self, signal: Signal) -> FeatureEncoderModule:
        """The module for such a signal.

        Raises:
            SpecError: the signal is not one that this encoder reads; says which it reads.
        """


class FeatureEncoderModule(nn.Module, abc.ABC):
    """An encoder's weights. Masking happens between its two halves, so that nothing masked can leak.

    The teacher shares the first half's output with the student wherever the method shares its weights.
    """

    @abc.abstractmethod
    def embed(self, view: View) -> Tokens:
        """Content to vectors, one for each position, before any of them knows its place.

        Args:
            view: content (B, *axes), padding (B, T).

        Returns:
            Tokens with features (B, T, D), the view's padding and layout, all positions, nothing extra.
        """

    @abc.abstractmethod
    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Corrupts, adds positions and extra tokens, drops: the sequence that a backbone takes.

        `didact.placing` has the steps that most encoders need.

        Args:
            tokens: what `embed` gave, features (B, T, D).
            mask: M masks per sample, or None for the whole, unmasked input (the teacher, an evaluation).

        Returns:
            Tokens with features (R, V, D), R = B·M.
        """

    def table(self) -> nn.Parameter | None:
        """The embedding table (C, D) of an encoder of ids, for objectives that tie their weights to it; else None."""
        return None

    def replacements(self, mask: BatchMask) -> Tensor | None:
        """The ids (B, M, T) int64 that `place` puts at replaced positions, of encoders of ids; else None.

        What stands at positions that are not replaced means nothing.

        Args:
            mask: whose ``replacement`` (B, M, T) holds the random numbers from which they follow.
        """
        return None


# ── 2. Which positions must the student not see? ──────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Masker(Spec, abc.ABC):
    """Draws masks, sample by sample, in the loader's workers."""

    @abc.abstractmethod
    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        """The masks of one sample.

        Args:
            layout: of this sample alone; padding is never masked because a masker never sees any.
            generator: keyed by (seed, step, sample): the same sample gets the same masks however the batch is split.

        Returns:
            M masks over the layout's T positions.

        Raises:
            SpecError: the settings hide everything or nothing of such a sample.
        """

    def equalize(self, masks: tuple[Mask, ...], *, generator: torch.Generator) -> tuple[Mask, ...]:
        """The masks of the samples that are collated together; a masker that makes their counts equal does it here.

        What is changed here depends on which samples share a micro-batch. The default changes nothing.
        """
        return masks


# ── 3. What contextualises the sequence? ──────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Backbone(Spec, abc.ABC):
    """Relates the positions of a sequence to each other."""

    @property
    def divisible(self) -> bool:
        """Whether a row comes out alike whatever rows are beside it, as behind batch normalisation it does not.

        Where it does not, the experiment is refused with ``micro_batches`` above 1.
        """
        return True

    @abc.abstractmethod
    def build(self, width: int, layout: Layout | None) -> BackboneModule:
        """The module.

        Args:
            width: of the encoder's vectors.
            layout: of a sample, where all samples have the same; else None.

        Raises:
            SpecError: the widths do not fit, or a layout is needed and there is none.
        """


class BackboneModule(nn.Module, abc.ABC):
    """A backbone's weights.

    Attributes:
        width: D of what it gives.
        blocks: its blocks, from lower to upper. `Collect` counts them; compilation and sharding go block by block.
        summary_width: P of `Context.summary`, or None for a backbone that gives none.
    """

    width: int
    blocks: nn.ModuleList
    summary_width: int | None = None

    @abc.abstractmethod
    def forward(self, tokens: Tokens, collect: Collect | None = None) -> Context:
        """Contextualises (R, V, D).

        Args:
            tokens: features (R, V, D); where ``padding`` is true nothing may be attended to.
            collect: which inner features to give along; None for none.

        Returns:
            output (R, V, D), and the features that were asked for, each (R, V, D).

        Raises:
            SpecError: it has no such feature, or cannot take such tokens (a convolutional net no padding, say).
        """

    def attention(self, tokens: Tokens, block: int) -> Attention | None:
        """What one block attends to, of backbones that can tell; else None. Only pictures are made of it.

        Args:
            tokens: as for `forward`, features (R, V, D).
            block: its index in ``blocks``, from 0 for the lowest.
        """
        return None


# ── 4. What is to be predicted? ───────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class TargetBuilder(Spec, abc.ABC):
    """Makes the targets, with a teacher or without."""

    @abc.abstractmethod
    def build(self, network: Network) -> TargetBuilderModule:
        """The module.

        Args:
            network: the student's encoder and backbone, freshly initialised.

        Raises:
            SpecError: the backbone cannot give what the targets are made of.
        """


class TargetBuilderModule(nn.Module, abc.ABC):
    """A target builder's weights and its teacher, if it has one.

    Attributes:
        width: D of continuous targets, or the number of classes of discrete ones.
    """

    width: int

    @abc.abstractmethod
    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """The targets of a batch.

        Args:
            passes: what the student made of each view.
            network: the student, for targets that share its weights.

        Returns:
            one target for each (view, thing that it must predict); gradients flow only where the method wants it.
        """

    def after_step(self, network: Network, step: int) -> Mapping[str, float]:
        """Called once after every optimizer step, never between accumulated micro-batches; a teacher follows here.

        Args:
            network: the student after the step.
            step: how many optimizer steps were taken, from 1.

        Returns:
            scalars to log, such as the decay that was used.
        """
        return {}

    def subject(self, network: Network) -> Network:
        """The teacher as a network that an evaluation can judge; the student where there is no teacher."""
        return network


@attrs.frozen(kw_only=True)
class Teacher(Spec, abc.ABC):
    """Where targets come from that a network makes: a moving average of the student, a frozen model, the student."""

    @abc.abstractmethod
    def build(self, network: Network) -> TeacherModule:
        """The module, equal to the student ``network`` where the teacher starts as its copy."""


class TeacherModule(nn.Module, abc.ABC):
    """A teacher's weights. It is always in evaluation mode and gives nothing a gradient."""

    @abc.abstractmethod
    def forward(self, student: StudentPass, network: Network, collect: Collect | None = None) -> Context:
        """The teacher's context of the whole, unmasked view: output (B, V, D), features (B, V, D) each.

        Args:
            student: the view, and the student's tokens of it, for teachers that share the encoder.
            network: the student, likewise.
            collect: which inner features to give along.
        """

    def after_step(self, network: Network, step: int) -> Mapping[str, float]:
        """Follows the student; see `TargetBuilderModule.after_step`."""
        return {}

    def subject(self, network: Network) -> Network:
        """The teacher as a network that an evaluation can judge; the student where it has no own weights."""
        return network


# ── 5. How is a prediction compared with its target? ──────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Objective(Spec, abc.ABC):
    """Predicts the targets from the student's contexts, and measures how well."""

    @property
    def divisible(self) -> bool:
        """Whether the loss of a batch is a sum over its parts, so that it may be computed in micro-batches.

        Not so for functions of the whole batch, such as a covariance. Over several processes such a function takes its
        sums by `didact.distributed`.
        """
        return True

    @abc.abstractmethod
    def build(self, network: Network, targets: TargetBuilderModule) -> ObjectiveModule:
        """The module, with the heads that predict.

        Raises:
            SpecError: the heads do not fit the contexts or the targets.
        """


class ObjectiveModule(nn.Module, abc.ABC):
    """An objective's heads."""

    @abc.abstractmethod
    def counts(self, batch: Batch) -> Mapping[str, int]:
        """How many things each term of the loss sums over in this batch; read from the masks, without the device.

        The learner adds them over the whole global batch before any gradient is taken.
        """

    @abc.abstractmethod
    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """The loss, each term a sum over what `counts` counts."""


# ── Where samples come from ───────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Source(Spec, abc.ABC):
    """Samples, as an experiment names them.

    Class attributes:
        unit: what `Samples.lengths` counts, in plural: ``seconds``, ``tokens``, ``images``.
        crops: whether a batch's samples are cut to the shortest of them; else they are padded to the longest.
    """

    unit: ClassVar[str]
    crops: ClassVar[bool] = False

    @abc.abstractmethod
    def signal(self) -> Signal:
        """What a sample is."""

    def prepare(self) -> None:
        """Makes what reading needs and the store does not hold yet (a trained tokenizer, say). Once, before `open`."""

    @abc.abstractmethod
    def open(self) -> Samples:
        """The samples. Called in every process that reads; nothing that it opens is ever pickled.

        Raises:
            DataError: the store is missing, incomplete, empty or of another kind.
        """

    def raw_features(self, content: Tensor) -> Tensor:
        """A sample's content (*axes) as the plain features (F,) that a classifier would get without any network.

        The control that a representation must beat: pixels, log-mel means, a bag of tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} names no raw features")

    def picture(self, content: Tensor) -> Tensor | None:
        """A sample's content (*axes) as an image, (H, W, 3) uint8, for people to look at; None where that is no use."""
        return None

    def sound(self, content: Tensor) -> Sound | None:
        """A sample's content (*axes) for people to listen to; None where there is nothing to hear."""
        return None

    def words(self, content: Tensor) -> tuple[str, ...] | None:
        """A sample's content as text: one string for each of its ids (T,) int64; None where the values are no words.

        Joined by nothing they are the text, so a word brings the space before it along.
        """
        return None


@attrs.frozen(kw_only=True)
class Augmentation(Spec, abc.ABC):
    """Makes what training sees of a sample.

    It stands in a field of a source, so that a method can bring views of its own to a source of another distribution.
    What a sample is before that, is its source's to say: one of images hands over (3, H, W) uint8.
    """

    @abc.abstractmethod
    def views(self, sample: Tensor, size: int, *, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The views of a sample, as many for each sample.

        Args:
            sample: (*axes), whole, of any size.
            size: of a view, where the augmentation says nothing else: the side of an image in pixels.
            generator: of the sample; nothing else is random.

        Returns:
            one or more views, each (*axes); they may differ in size from each other, not from sample to sample.
        """

    def shortest(self, size: int) -> int | None:
        """How long a sample's shorter side must be so that a larger one would give no sharper view.

        A source may then decode less of it. None, the default: it is handed over whole.

        Args:
            size: as for `views`.
        """
        return None


class Samples(abc.ABC):
    """The opened samples of a source.

    Attributes:
        lengths: (N,) float64; every sample's length in the source's unit.
        labels: (N,) int64 or None; each sample's class. Training never reads it.
        classes: the names of the classes.
        fingerprint: SHA-256 of what the samples are; equal samples, equal fingerprint.
    """

    lengths: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    fingerprint: str

    @abc.abstractmethod
    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The views of one sample that training sees, cropped and augmented; each (*axes).

        Args:
            index: of the sample.
            length: in the source's unit, what the samples of this batch are cut to; None where they are not.
            generator: keyed by (seed, step, sample).

        Raises:
            DataError: the record cannot be read; names it.
        """

    @abc.abstractmethod
    def content(self, index: int) -> Tensor:
        """The whole sample (*axes), without augmentation, as an evaluation sees it."""

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """The sample's name as its user knows it: a file, a row."""


# ── What becomes of a run ─────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Report:
    """What an evaluation found.

    Attributes:
        metrics: ``name → value``; the experiment's name for the evaluation goes before them.
        images: ``name → (H, W, 3) uint8``.
        texts: ``name → text``, Markdown or plain.
        sounds: ``name → sound``.
    """

    metrics: Mapping[str, float]
    images: Mapping[str, Tensor] = attrs.field(factory=dict, eq=False)
    texts: Mapping[str, str] = attrs.field(factory=dict)
    sounds: Mapping[str, Sound] = attrs.field(factory=dict, eq=False)


class Subject(Protocol):
    """What is judged: the networks of a run at a step."""

    experiment: Experiment
    step: int
    device: torch.device

    def student(self) -> Network:
        """The student, in evaluation mode."""

    def teacher(self) -> Network:
        """The teacher, in evaluation mode; the student where the method has no teacher."""

    def untrained(self) -> Network:
        """The student as it was initialised, before the first step: the control."""

    def targets(self, batch: Batch) -> tuple[tuple[StudentPass, ...], tuple[Target, ...]]:
        """What the student makes of a batch and what it should predict, as in training but in evaluation mode."""

    def predict(self, batch: Batch) -> Loss:
        """The objective's word on a batch, in evaluation mode and without gradient: predictions and targets (N, D)."""


@attrs.frozen(kw_only=True)
class Evaluation(Spec, abc.ABC):
    """Judges a network, at the end of training and, where the experiment says so, during it."""

    def prepare(self, experiment: Experiment) -> None:
        """Makes and checks what it needs, before the first step: a missing store is found now, not after the last step.

        Args:
            experiment: that lists it.

        Raises:
            DataError: a source of its own cannot be used.
            SpecError: it does not fit the experiment.
        """

    @abc.abstractmethod
    def evaluate(self, subject: Subject) -> Report:
        """The verdict. Labels come from sources of the evaluation's own."""


@attrs.frozen(kw_only=True)
class Observer(Spec, abc.ABC):
    """Watches a run; acts only in the runs whose experiment lists it."""

    @abc.abstractmethod
    def build(self) -> Any:
        """An object whose ``@hookimpl`` methods are lifecycle hooks of `didact.hookspecs`."""


# ── What runs experiments ─────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class StudyCall:
    """How somebody asked for a study to be run.

    Attributes:
        folder: where everything about the study goes; it may hold what an earlier call left.
        device: of each run: ``auto``, ``cpu`` or ``cuda``.
        jobs: at most so many runs side by side.
        source_file: the file that the study stands in.
    """

    folder: Path
    device: str
    jobs: int
    source_file: Path


@attrs.frozen(kw_only=True)
class Study(Spec, abc.ABC):
    """Several experiments that answer one question together: what ``didact run FILE`` runs where the file holds one.

    Attributes:
        name: of the study; everything about it lies in a folder of that name.
    """

    name: str

    @abc.abstractmethod
    def experiments(self) -> Mapping[str, Experiment]:
        """What it runs, by name, each once where several differ in their seed alone; ``--smoke`` tries these."""

    @abc.abstractmethod
    def run(self, call: StudyCall) -> bool:
        """Runs what is missing and says what was found; called again, it goes on where it was.

        Returns:
            whether all of it is done.

        Raises:
            DidactError: it cannot be run at all. A single experiment that fails is reported, and the others go on.
        """


# ── What turns files into a store ─────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True, eq=False)
class Record:
    """One sample on its way into a store.

    Attributes:
        data: the media's own compressed bytes, untouched; text as UTF-8.
        length: in the medium's unit.
        fields: what is known of it: ``label``, and whatever a file-name pattern or a column gave.
        name: where it came from.
    """

    data: bytes
    length: float
    name: str
    fields: Mapping[str, str] = attrs.field(factory=dict)


class Medium(abc.ABC):
    """A kind of file that ``didact ingest`` understands.

    Class attributes:
        kind: the word that stands in the store and on the command line, in plural: ``images``.
        unit: what a record's length counts.
        suffixes: the file names that are looked at, lower-case with their dot; others are passed over.
    """

    kind: ClassVar[str]
    unit: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        """Checks one file and takes it apart. Runs in a worker process.

        Args:
            data: the file's bytes.
            name: its name, for messages.
            options: the command line's ``--option name=value``.

        Raises:
            DataError: the file cannot be read; it is listed with this reason and skipped.
        """

    def describe(self, record: Record) -> str:
        """One line about a record, for ``didact inspect``."""
        return f"{record.name}  {record.length:g} {self.unit}"


@attrs.frozen(kw_only=True)
class RunInfo:
    """A run, as observers see it.

    Attributes:
        folder: where everything about it lies.
        experiment: what runs, with everything that the command line changed.
        data: the experiment as plain data.
        step: from where it starts; more than 0 where it was resumed.
        environment: versions, plugins, machine, fingerprints of the data.
    """

    folder: Path
    experiment: Experiment
    data: Mapping[str, Any]
    step: int
    environment: Mapping[str, Any]
