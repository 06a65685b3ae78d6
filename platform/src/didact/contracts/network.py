"""The contracts of a network: an encoder, a masker and a backbone, and how they are combined.

A part has two halves. The *spec* is the frozen value in an experiment; the *module* is the `nn.Module` with parameters
that the spec's ``build`` returns. Parts are built from upstream to downstream, and each part has access only to the
parts upstream of it. `didact.contracts.targets` has the other two contracts of a method.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor, nn
from torch.profiler import record_function

from didact.spec import Spec
from didact.tensors import (
    Attention,
    BackboneOutput,
    BatchMask,
    Corruption,
    Feature,
    HiddenState,
    Layout,
    Mask,
    Signal,
    StudentPass,
    Tokens,
    View,
)


@attrs.frozen(kw_only=True)
class Masking:
    """What a masker does to the student's input.

    Attributes:
        corruptions: what may be done to a position; `Corruption.NONE` need not be listed.
        masks: M, the number of masks of each sample.
        contexts: C, the number of corrupted versions of each sample; None: one for each mask.
    """

    corruptions: frozenset[Corruption]
    masks: int = 1
    contexts: int | None = None

    @classmethod
    def of(cls, *corruptions: str, masks: int = 1, contexts: int | None = None) -> Masking:
        """Makes a description from the names of corruptions: ``hide``, ``replace`` and ``drop``."""
        return cls(
            corruptions=frozenset(Corruption[name.upper()] for name in corruptions), masks=masks, contexts=contexts
        )


@attrs.frozen(kw_only=True)
class FeatureEncoder(Spec, abc.ABC):
    """Converts a sample's content to a sequence of vectors.

    Attributes:
        width: D, the size of each vector.
    """

    width: int

    @property
    def corruptions(self) -> frozenset[Corruption]:
        """What `FeatureEncoderModule.place` can do to a position; by default, it can hide, replace and drop."""
        return frozenset(Corruption)

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
            Tokens with features (R, V, D), R = B·C.
        """

    def input_embeddings(self) -> nn.Parameter | None:
        """Returns the embedding table (C, D) of an encoder of ids, for objectives with tied weights; otherwise None."""
        return None

    def replacements(self, mask: BatchMask) -> Tensor | None:
        """Returns the ids (B, C, T) int64 that `place` puts at replaced positions, for encoders of ids; otherwise None.

        They depend only on ``mask.replacement`` (B, C, T); values at positions that are not replaced are arbitrary.
        """
        return None


@attrs.frozen(kw_only=True)
class Masker(Spec, abc.ABC):
    """Draws masks, sample by sample, in the loader's workers."""

    @property
    def masking(self) -> Masking:
        """What the masker does to the student's input; by default, it hides positions, with one mask for each sample.

        Encoders, backbones and heads declare or check what they support when the parts are built.
        """
        return Masking.of("hide")

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

    @property
    def supports_padding(self) -> bool:
        """Whether samples of a batch may differ in length; false for convolutional networks."""
        return True

    @property
    def supports_dropping(self) -> bool:
        """Whether positions may be missing from the sequence; false for convolutional networks."""
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
        features: the inner features that `forward` can return of every block.
    """

    width: int
    blocks: nn.ModuleList
    pooled_width: int | None = None
    features: frozenset[Feature] = frozenset({"ffn", "ffn+residual", "attention", "block"})

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

    If the views of a sample differ in their signal, such as an image and its caption, each view has a network of its
    own. The network of the first view then holds the networks of the others.

    Attributes:
        signal: the description of the samples.
        layout: the layout of a sample's positions if all samples have the same layout; otherwise None.
        masking: what the masker does to this network's input; None without a masker.
        others: the networks of the second and later views; empty if one network encodes all views.
    """

    def __init__(
        self,
        encoder: FeatureEncoderModule,
        backbone: BackboneModule,
        signal: Signal,
        layout: Layout | None,
        masking: Masking | None = None,
        others: Sequence[Network] = (),
    ) -> None:
        super().__init__()
        self.encoder, self.backbone, self.others = encoder, backbone, nn.ModuleList(others)
        self.signal, self.layout, self.masking = signal, layout, masking

    def of(self, view: int) -> Network:
        """Returns the network that encodes view number ``view``."""
        if view == 0 or not self.others:
            return self
        other = self.others[view - 1]
        assert isinstance(other, Network)
        return other

    def all(self) -> Iterator[Network]:
        """Yields this network and the networks of the other views."""
        yield self
        yield from (self.of(view) for view in range(1, 1 + len(self.others)))

    def forward(self, view: View, index: int = 0) -> StudentPass:
        """Computes the student's pass over a view, with the view's mask; ``index`` is the view's index in the batch."""
        with record_function("encoder"):
            tokens = self.encoder.embed(view)
        with record_function("student forward"):
            output = self.contextualize(tokens, view.mask)
        return StudentPass(index=index, view=view, tokens=tokens, backbone_output=output)

    def contextualize(
        self, tokens: Tokens, mask: BatchMask | None, hidden_states: Sequence[HiddenState] = ()
    ) -> BackboneOutput:
        """Places the tokens with a mask, or unmasked if ``mask`` is None, and runs the backbone: (R, V, D)."""
        output: BackboneOutput = self.backbone(self.encoder.place(tokens, mask), hidden_states)
        return output
