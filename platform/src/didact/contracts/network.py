"""The contracts of a network: an encoder, a masker and a backbone, and how they are combined.

A part has two halves. The *spec* is the frozen value in an experiment; the *module* is the `nn.Module` with parameters
that the spec's ``build`` returns. Parts are built from upstream to downstream, and each part has access only to the
parts upstream of it. `didact.contracts.targets` has the other two contracts of a method.
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
    """Converts a sample's content to a sequence of vectors.

    Attributes:
        width: D, the size of each vector.
    """

    width: int

    @abc.abstractmethod
    def layout(self, size: tuple[int, ...]) -> Layout:
        """Returns the positions of a sample whose content has the shape ``size``, without the batch; needs no weights.

        Raises:
            SpecError: a sample of this size has no position.
        """

    @abc.abstractmethod
    def build(self, signal: Signal) -> FeatureEncoderModule:
        """Builds the module.

        Raises:
            SpecError: the encoder cannot read such a signal; the error names the signals that it can read.
        """


class FeatureEncoderModule(nn.Module, abc.ABC):
    """An encoder's weights. Masking happens between `embed` and `place`, so that masked content cannot leak.

    If the method shares the weights of `embed`, the teacher uses the student's output of `embed`.

    Attributes:
        latent_width: F of `Tokens.latents`, or None for an encoder without latents.
        stride: number of values of a sequence's content per position; None if this number is not constant.
        position_parts: the names of the children and parameters that `place` applies to unmasked tokens. A teacher that
            shares the student's embedded features averages only these. None: not declared; the teacher averages all.
    """

    latent_width: int | None = None
    stride: int | None = None
    position_parts: tuple[str, ...] | None = None

    @abc.abstractmethod
    def embed(self, view: View) -> Tokens:
        """Converts content to one vector per position, without position codes.

        Args:
            view: content (B, *axes), padding (B, T).

        Returns:
            Tokens with features (B, T, D), the view's padding and layout, all positions, no prefix tokens.
        """

    @abc.abstractmethod
    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Corrupts tokens, adds position codes and prefix tokens, and drops positions; returns the backbone's input.

        `didact.placing` provides the steps that most encoders need.

        Args:
            tokens: the result of `embed`, features (B, T, D).
            mask: M masks per sample, or None for the whole, unmasked input (the teacher, an evaluation).

        Returns:
            Tokens with features (R, V, D), R = B·M.
        """

    def input_embeddings(self) -> nn.Parameter | None:
        """Returns the embedding table (C, D) of an encoder of ids, for objectives with tied weights; otherwise None."""
        return None

    def replacements(self, mask: BatchMask) -> Tensor | None:
        """Returns the ids (B, M, T) int64 that `place` puts at replaced positions, for encoders of ids; otherwise None.

        They depend only on ``mask.replacement`` (B, M, T); values at positions that are not replaced are arbitrary.
        """
        return None


@attrs.frozen(kw_only=True)
class Masker(Spec, abc.ABC):
    """Draws masks, sample by sample, in the loader's workers."""

    @abc.abstractmethod
    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        """Draws M masks of one sample, over the T positions of its layout.

        Args:
            layout: the layout of this sample alone, without padding, so padding is never masked.
            generator: keyed by (seed, step, sample), so that splitting the batch does not change a sample's masks.

        Raises:
            SpecError: the settings would hide everything or nothing in such a sample.
        """

    def equalize(self, masks: tuple[Mask, ...], *, generator: torch.Generator) -> tuple[Mask, ...]:
        """Adjusts the masks of samples that are collated together, for example to equalise their counts.

        The result depends on which samples share a part of the batch. The default changes nothing.
        """
        return masks


@attrs.frozen(kw_only=True)
class Backbone(Spec, abc.ABC):
    """Relates the positions of a sequence to each other."""

    @property
    def supports_accumulation(self) -> bool:
        """Whether a row's output is independent of the other rows; false with batch normalisation.

        If false, an experiment with ``gradient_accumulation_steps`` above 1 is rejected.
        """
        return True

    @abc.abstractmethod
    def build(self, width: int, layout: Layout | None) -> BackboneModule:
        """Builds the module.

        Args:
            width: the width of the encoder's vectors.
            layout: the layout of a sample if all samples have the same layout; otherwise None.

        Raises:
            SpecError: the widths do not fit, or a layout is required and missing.
        """


class BackboneModule(nn.Module, abc.ABC):
    """A backbone's weights.

    Attributes:
        width: D of the output.
        blocks: the blocks, from lower to upper. `HiddenState.block` is an index into this list; compilation and
            sharding work block by block.
        pooled_width: P of `BackboneOutput.pooled`, or None for a backbone that does not pool.
    """

    width: int
    blocks: nn.ModuleList
    pooled_width: int | None = None

    @abc.abstractmethod
    def forward(self, tokens: Tokens, hidden_states: Sequence[HiddenState] = ()) -> BackboneOutput:
        """Relates the positions (R, V, D) to each other.

        Args:
            tokens: features (R, V, D); positions where ``padding`` is true must not be attended to.
            hidden_states: the inner features to return in addition, of any blocks.

        Returns:
            output (R, V, D), and the hidden states in the order of the request, each (R, V, D).

        Raises:
            SpecError: the feature does not exist, or the tokens are unsupported (padding in a convolutional network).
        """

    def attention(self, tokens: Tokens, block: int) -> Attention | None:
        """Returns the attention weights of a block, for visualization; None if the backbone has no attention.

        ``tokens`` are as for `forward`, with features (R, V, D); ``block`` is an index into ``blocks``.
        """
        return None


class Network(nn.Module):
    """An encoder and a backbone: the network that is trained, averaged by a teacher, and evaluated.

    Attributes:
        signal: the description of the samples.
        layout: the layout of a sample's positions if all samples have the same layout; otherwise None.
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
        """Computes the student's pass over a view, with the view's mask."""
        with record_function("encoder"):
            tokens = self.encoder.embed(view)
        with record_function("student forward"):
            output = self.contextualize(tokens, view.mask)
        return StudentPass(view=view, tokens=tokens, backbone_output=output)

    def contextualize(
        self, tokens: Tokens, mask: BatchMask | None, hidden_states: Sequence[HiddenState] = ()
    ) -> BackboneOutput:
        """Places the tokens with a mask, or unmasked if ``mask`` is None, and runs the backbone: (R, V, D)."""
        output: BackboneOutput = self.backbone(self.encoder.place(tokens, mask), hidden_states)
        return output
