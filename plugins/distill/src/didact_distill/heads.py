"""Heads: map the student's output to a prediction at every masked position."""

from __future__ import annotations

import abc
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact import BackboneOutput, BatchMask, Corruption, Network, Spec, SpecError
from didact_distill.restoring import restore

Initialization = Literal["uniform", "normal", "truncated"]


@attrs.frozen(kw_only=True)
class Head(Spec, abc.ABC):
    """The layers by which an objective predicts targets at masked positions."""

    @abc.abstractmethod
    def build(self, network: Network, target_width: int) -> HeadModule:
        """The module, which maps outputs of ``network`` to predictions of ``target_width``."""


class HeadModule(nn.Module, abc.ABC):
    """A head's weights."""

    @abc.abstractmethod
    def forward(self, context: BackboneOutput, mask: BatchMask, padding: Tensor | None) -> Tensor:
        """The predictions (N, D) at the mask's N predicted positions.

        Args:
            context: the student's backbone output; ``output`` is (R, V, D).
            mask: the positions to predict, and the positions that were dropped from the sequence.
            padding: (R, T) bool; true = not data, and must not change any prediction. None: all positions are data.
        """


@attrs.frozen(kw_only=True)
class LinearHead(Head):
    """One linear layer, as in data2vec on speech and images.

    Attributes:
        initialization: how the weights are drawn. ``uniform``: PyTorch's default (speech). ``normal``: N(0, 0.02²)
            (text). ``truncated``: N(0, 0.02²) truncated at one standard deviation (images, BEiT).
    """

    initialization: Initialization = "uniform"

    def build(self, network: Network, target_width: int) -> ProjectionHead:
        require_all_positions(network, "LinearHead")
        return ProjectionHead(_initialize(nn.Linear(network.backbone.width, target_width), self.initialization))


@attrs.frozen(kw_only=True)
class MLPHead(Head):
    """Two linear layers with a GELU between them, as in data2vec on text.

    Attributes:
        ratio: inner width, as a multiple of the backbone's width.
        initialization: how the weights are drawn, as for `LinearHead`.
    """

    ratio: float = 2.0
    initialization: Initialization = "normal"

    def validate(self) -> None:
        self.require(self.ratio > 0, "ratio", "above 0")

    def build(self, network: Network, target_width: int) -> ProjectionHead:
        require_all_positions(network, "MLPHead")
        width = network.backbone.width
        inner = round(width * self.ratio)
        layers = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, target_width))
        return ProjectionHead(_initialize(layers, self.initialization))


class ProjectionHead(HeadModule):
    """Layers that are applied to the predicted positions only."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, context: BackboneOutput, mask: BatchMask, padding: Tensor | None) -> Tensor:
        """Maps the outputs (R, T, D) at the predicted positions to predictions (N, D)."""
        require_positions(context, mask)
        rows = context.positions_only(context.output).flatten(0, 1)  # (R, T, D) -> (R·T, D)
        predictions: Tensor = self.layers(rows.index_select(0, mask.row_indices))
        return predictions


@attrs.frozen(kw_only=True)
class ConvDecoder(Head):
    """The convolutional decoder of data2vec 2.0 (§3.2): convolutions over visible outputs, with noise at the gaps.

    Every layer is a convolution, a parameter-free LayerNorm over channels and a GELU, with a residual connection where
    its input and output have the same width. It convolves over a sequence or a grid, according to the encoder's layout.

    Attributes:
        width: number of channels of each layer; 768 for images base, 384 for speech base.
        layers: number of layers; 6 for images base, 4 for speech, 5 for text.
        kernel: size along each axis, odd; 3 for images base, 7 for speech, 9 for text.
        groups: number of groups of each convolution; 16, or 1 for text.
        residual: whether layers have a residual connection; false for text.
        input_dropout: share of the student's outputs that are dropped; 0 for images, 0.1 for speech and text.
        noise: standard deviation of the noise at dropped positions, which is drawn in every pass.
        projection_layers: number of linear layers that map to the targets' width; 1, or 2 for text.
    """

    width: int = 768
    layers: int = 6
    kernel: int = 3
    groups: int = 16
    residual: bool = True
    input_dropout: float = 0.0
    noise: float = 0.01
    projection_layers: Literal[1, 2] = 1

    def validate(self) -> None:
        self.require(self.layers >= 1, "layers", "at least 1")
        self.require(self.kernel >= 1 and self.kernel % 2 == 1, "kernel", "odd")
        self.require(self.groups >= 1 and self.width % self.groups == 0, "groups", f"a divisor of width ({self.width})")
        self.require(0 <= self.input_dropout < 1, "input_dropout", "from 0 up to but not 1")
        self.require(self.noise >= 0, "noise", "at least 0")

    def build(self, network: Network, target_width: int) -> ConvDecoderModule:
        width = network.backbone.width
        if width % self.groups:
            raise SpecError(
                f"ConvDecoder.groups must divide the backbone's width, {width}, got {self.groups}",
                where="groups",
                hint="choose a common divisor of the backbone's and the decoder's width",
            )
        dimensions = 1 if network.layout is None else len(network.layout.shape)
        if dimensions > 2:
            raise SpecError(
                f"ConvDecoder convolves sequences and grids, but the encoder's positions form {dimensions} axes",
                hint="use LinearHead or MLPHead with a masker that hides, or an encoder whose positions form a grid",
            )
        return ConvDecoderModule(self, width, target_width, dimensions)


class ConvDecoderModule(HeadModule):
    """The decoder's weights."""

    def __init__(self, spec: ConvDecoder, width: int, target_width: int, dimensions: int) -> None:
        super().__init__()
        self.spec = spec
        convolution = {1: nn.Conv1d, 2: nn.Conv2d}[dimensions]
        self.convolutions = nn.ModuleList(
            convolution(
                width if layer == 0 else spec.width,
                spec.width,
                spec.kernel,
                padding=spec.kernel // 2,
                groups=spec.groups,
            )
            for layer in range(spec.layers)
        )
        if dimensions == 2:
            self.convolutions.to(memory_format=torch.channels_last)
        inner = 2 * spec.width
        self.projection = (
            nn.Linear(spec.width, target_width)
            if spec.projection_layers == 1
            else nn.Sequential(nn.Linear(spec.width, inner), nn.GELU(), nn.Linear(inner, target_width))
        )

    def forward(self, context: BackboneOutput, mask: BatchMask, padding: Tensor | None) -> Tensor:
        """Predicts (N, D) from the visible outputs (R, V, D), with noise at the other positions.

        Padding is set to zero before every convolution, like the border of an unpadded sample.
        """
        require_positions(context, mask)
        x = self._restore(context)  # (R, T, D)
        rows, t, width = x.shape
        if padding is not None:
            padding = padding.view(rows, 1, *context.tokens.layout.shape)  # (R, T) -> (R, 1, H, W)
        # (R, T, D) -> (R, D, H, W), channels last in memory
        x = x.view(rows, *context.tokens.layout.shape, width).movedim(-1, 1)
        for convolution in self.convolutions:
            if padding is not None:
                x = x.masked_fill(padding, 0.0)
            y = convolution(x).movedim(1, -1)  # (R, H, W, D)
            y = nn.functional.gelu(nn.functional.layer_norm(y, y.shape[-1:])).movedim(-1, 1)
            x = y + x if self.spec.residual and y.shape == x.shape else y
        x = x.movedim(1, -1).reshape(rows * t, self.spec.width)  # (R·T, D)
        predictions: Tensor = self.projection(x.index_select(0, mask.row_indices))
        return predictions

    def _restore(self, context: BackboneOutput) -> Tensor:
        """Puts the outputs (R, V, D) at their positions, with noise at the others: (R, T, D)."""
        visible = context.positions_only(context.output)  # (R, V, D)
        visible = nn.functional.dropout(visible, self.spec.input_dropout, self.training)
        if context.tokens.positions is None:
            return visible
        rows, _, width = visible.shape
        t = context.tokens.layout.positions
        noise = torch.randn(rows, t + 1, width, device=visible.device, dtype=visible.dtype) * self.spec.noise
        return restore(visible, context.tokens, noise)


def require_all_positions(network: Network, head: str) -> None:
    """Checks that the student's sequence holds the positions that a head predicts from the student's output there.

    Args:
        network: the student.
        head: the head's name, for the error.

    Raises:
        SpecError: the masker drops positions.
    """
    if network.masking is not None and Corruption.DROP in network.masking.corruptions:
        raise SpecError(
            f"{head} predicts a position from the student's output there, but the masker drops the positions that are "
            f"to be predicted",
            hint="use a decoder, such as didact_distill.ConvDecoder, or a masker that hides",
        )


def require_positions(context: BackboneOutput, mask: BatchMask) -> None:
    """Checks that a backbone's output corresponds to the positions of the encoder, which were masked.

    Raises:
        SpecError: the output corresponds to other positions, such as the smaller grid of a convolutional network.
    """
    found, expected = context.tokens.layout.positions, mask.predicted.shape[2]
    if found != expected:
        raise SpecError(
            f"the student must predict masked positions, of which the encoder makes {expected} for a sample, but the "
            f"backbone's output stands for {found}",
            where="experiment.backbone",
            hint="use a backbone that keeps the positions, such as a Transformer, or an objective for whole samples",
        )


def _initialize(layers: nn.Module, how: Initialization) -> nn.Module:
    for layer in layers.modules():
        if isinstance(layer, nn.Linear) and how != "uniform":
            if how == "normal":
                nn.init.normal_(layer.weight, std=0.02)
            else:
                nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.02, b=0.02)
            nn.init.zeros_(layer.bias)
    return layers
