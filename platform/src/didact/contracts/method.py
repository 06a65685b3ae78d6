"""The five contracts of a method, and the teacher's: what each part promises to the others.

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
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor, nn

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

    Attributes:
        latent_width: F of `Tokens.latents`, or None for an encoder that gives none.
        stride: of a sequence, the values of its content from one position to the next; None where that is not one
            number.
    """

    latent_width: int | None = None
    stride: int | None = None

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

    @property
    def divisible(self) -> bool:
        """Whether a sample's targets come out alike whatever samples are beside it; see `Backbone.divisible`."""
        return True

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

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        """Called once after every optimizer step, never between accumulated micro-batches; a teacher follows here.

        Args:
            network: the student after the step.
            step: how many optimizer steps were taken, from 1.
            steps: of the whole run, ``training.steps``: for what takes its course over all of it.

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

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
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
        sums by `didact.machine.distributed`.
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
