"""The contracts of a network: an encoder, a masker and a backbone, and how the three meet.

A part comes in two halves. The *spec* is the frozen value that an experiment composes; the *module* is what its
``build`` returns, an `nn.Module` with parameters. Parts are built from upstream to downstream, and see only what is
upstream of them. `didact.contracts.targets` has the other two contracts of a method.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

import attrs
import torch
from torch import Tensor, nn
from torch.profiler import record_function

from didact.spec import Spec
from didact.tensors import (
    Attention,
    BackboneOutput,
    BatchMask,
    HiddenState,
    Layout,
    Mask,
    Signal,
    StudentPass,
    Tokens,
    View,
)


@attrs.frozen(kw_only=True)
class FeatureEncoder(Spec, abc.ABC):
    """Turns a sample's content into a sequence of vectors.

    Attributes:
        width: D, the size of each vector.
    """

    width: int

    @abc.abstractmethod
    def layout(self, size: tuple[int, ...]) -> Layout:
        """The positions of a sample whose content has the shape ``size``, without the batch; known without weights.

        Raises:
            SpecError: a sample of this size has no position.
        """

    @abc.abstractmethod
    def build(self, signal: Signal) -> FeatureEncoderModule:
        """The module.

        Raises:
            SpecError: the encoder does not read such a signal; names those that it reads.
        """


class FeatureEncoderModule(nn.Module, abc.ABC):
    """An encoder's weights. Masking happens between its two halves, so that masked content cannot leak.

    The teacher shares the first half's output with the student where the method shares its weights.

    Attributes:
        latent_width: F of `Tokens.latents`, or None for an encoder without latents.
        stride: of a sequence, number of values of its content per position; None where that is not one number.
        position_parts: the names of the children and parameters that `place` applies to unmasked tokens. A teacher that
            shares the student's embedded features averages only these. None: not declared, so it averages all of them.
    """

    latent_width: int | None = None
    stride: int | None = None
    position_parts: tuple[str, ...] | None = None

    @abc.abstractmethod
    def embed(self, view: View) -> Tokens:
        """Turns content into one vector for each position, without position codes.

        Args:
            view: content (B, *axes), padding (B, T).

        Returns:
            Tokens with features (B, T, D), the view's padding and layout, all positions, no prefix tokens.
        """

    @abc.abstractmethod
    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Corrupts, adds position codes and prefix tokens, and drops: the sequence that a backbone takes.

        `didact.placing` has the steps that most encoders need.

        Args:
            tokens: the result of `embed`, features (B, T, D).
            mask: M masks per sample, or None for the whole, unmasked input (the teacher, an evaluation).

        Returns:
            Tokens with features (R, V, D), R = B·M.
        """

    def input_embeddings(self) -> nn.Parameter | None:
        """The embedding table (C, D) of an encoder of ids, for objectives that tie their weights to it; else None."""
        return None

    def replacements(self, mask: BatchMask) -> Tensor | None:
        """The ids (B, M, T) int64 that `place` puts at replaced positions, of encoders of ids; else None.

        They follow from ``mask.replacement`` (B, M, T); values at positions that are not replaced are arbitrary.
        """
        return None


@attrs.frozen(kw_only=True)
class Masker(Spec, abc.ABC):
    """Draws masks, sample by sample, in the loader's workers."""

    @abc.abstractmethod
    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        """M masks of one sample, over its layout's T positions.

        Args:
            layout: of this sample alone; padding is never masked because a masker never sees any.
            generator: keyed by (seed, step, sample), so that no split of the batch changes a sample's masks.

        Raises:
            SpecError: the settings would hide everything or nothing of such a sample.
        """

    def equalize(self, masks: tuple[Mask, ...], *, generator: torch.Generator) -> tuple[Mask, ...]:
        """Changes the masks of samples that are collated together, so that their counts are equal, for instance.

        The result depends on which samples share a part of the batch. The default changes nothing.
        """
        return masks


@attrs.frozen(kw_only=True)
class Backbone(Spec, abc.ABC):
    """Relates the positions of a sequence to each other."""

    @property
    def supports_accumulation(self) -> bool:
        """Whether a row's output is independent of the other rows; with batch normalisation it is not.

        Where it is not, an experiment with ``gradient_accumulation_steps`` above 1 is refused.
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
        width: D of its output.
        blocks: its blocks, from lower to upper. `HiddenState.block` is an index into them; compilation and sharding go
            block by block.
        pooled_width: P of `BackboneOutput.pooled`, or None for a backbone that does not pool.
    """

    width: int
    blocks: nn.ModuleList
    pooled_width: int | None = None

    @abc.abstractmethod
    def forward(self, tokens: Tokens, hidden_states: Sequence[HiddenState] = ()) -> BackboneOutput:
        """Relates the positions (R, V, D) to each other.

        Args:
            tokens: features (R, V, D); where ``padding`` is true nothing may be attended to.
            hidden_states: the inner features to return as well, of any blocks.

        Returns:
            output (R, V, D), and the hidden states in the order of the request, each (R, V, D).

        Raises:
            SpecError: it has no such feature, or cannot take such tokens (a convolutional network takes no padding).
        """

    def attention(self, tokens: Tokens, block: int) -> Attention | None:
        """The attention weights of one of ``blocks``, of backbones that have them; else None. For visualization only.

        ``tokens`` are as for `forward`, with features (R, V, D).
        """
        return None


class Network(nn.Module):
    """An encoder and a backbone: what is trained, averaged by a teacher, and evaluated.

    Attributes:
        signal: what the samples are.
        layout: of a sample's positions, where all samples have the same; else None.
    """

    def __init__(
        self, encoder: FeatureEncoderModule, backbone: BackboneModule, signal: Signal, layout: Layout | None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.backbone = backbone
        self.signal = signal
        self.layout = layout

    def forward(self, view: View) -> StudentPass:
        """The student's pass over a view, behind the view's mask."""
        with record_function("encoder"):
            tokens = self.encoder.embed(view)
        with record_function("student forward"):
            output = self.contextualize(tokens, view.mask)
        return StudentPass(view=view, tokens=tokens, backbone_output=output)

    def contextualize(
        self, tokens: Tokens, mask: BatchMask | None, hidden_states: Sequence[HiddenState] = ()
    ) -> BackboneOutput:
        """Places the tokens behind a mask, or all of them where it is None, and relates them: (R, V, D)."""
        output: BackboneOutput = self.backbone(self.encoder.place(tokens, mask), hidden_states)
        return output
