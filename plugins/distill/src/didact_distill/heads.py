"""Heads: from the student's context to a prediction for every position it must predict."""

from __future__ import annotations

import abc
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact import BatchMask, Context, Network, Spec, SpecError, restore

Initialization = Literal["uniform", "normal", "truncated"]


@attrs.frozen(kw_only=True)
class Head(Spec, abc.ABC):
    """What a regression predicts with."""

    @abc.abstractmethod
    def build(self, network: Network, target_width: int) -> HeadModule:
        """The module, from the contexts of ``network`` to targets of ``target_width``."""


class HeadModule(nn.Module, abc.ABC):
    """A head's weights."""

    @abc.abstractmethod
    def forward(self, context: Context, mask: BatchMask, padding: Tensor | None) -> Tensor:
        """The predictions (N, D) at the mask's N predicted positions.

        Args:
            context: output (R, V, D).
            mask: which positions, and which of them are not in the sequence.
            padding: (R, T) bool; true = not data, and must change no prediction. None: all is data.
        """


@attrs.frozen(kw_only=True)
class LinearHead(Head):
    """One linear layer, as data2vec uses for speech and images.

    Attributes:
        initialization: of the weights. ``uniform``: PyTorch's own, as for speech. ``normal``: N(0, 0.02), as for text.
            ``truncated``: N(0, 0.02) cut at one standard deviation, as for images (BEiT).
    """

    initialization: Initialization = "uniform"

    def build(self, network: Network, target_width: int) -> ProjectionHead:
        return ProjectionHead(_initialize(nn.Linear(network.backbone.width, target_width), self.initialization))


@attrs.frozen(kw_only=True)
class MLPHead(Head):
    """Two linear layers with a GELU between them, as data2vec uses for text.

    Attributes:
        ratio: of the inner width to the context's.
        initialization: of the weights, as for `LinearHead`.
    """

    ratio: float = 2.0
    initialization: Initialization = "normal"

    def validate(self) -> None:
        self.require(self.ratio > 0, "ratio", "above 0")

    def build(self, network: Network, target_width: int) -> ProjectionHead:
        width = network.backbone.width
        inner = round(width * self.ratio)
        layers = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, target_width))
        return ProjectionHead(_initialize(layers, self.initialization))


class ProjectionHead(HeadModule):
    """Layers applied to the predicted positions alone."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, context: Context, mask: BatchMask, padding: Tensor | None) -> Tensor:
        """Predictions (N, D) from the outputs (R, T, D) at the predicted positions."""
        if mask.visible is not None:
            raise SpecError(
                "this head predicts a position from the student's output there, but the masker drops the positions "
                "that are to be predicted",
                where="experiment.objective.head",
                mend="use didact_distill.ConvDecoder, or a masker that hides",
            )
        rows = context.positions_only(context.output).flatten(0, 1)  # (R, T, D) -> (R·T, D)
        predictions: Tensor = self.layers(rows.index_select(0, mask.predictions))
        return predictions


@attrs.frozen(kw_only=True)
class ConvDecoder(Head):
    """The convolutional decoder of data2vec 2.0 (§3.2): visible outputs and noise in their places, then convolutions.

    Every layer is a convolution, a parameter-free LayerNorm over channels and a GELU; a residual connection goes around
    it where the widths on both sides are equal. It convolves over a grid or a sequence, whichever the positions form.

    Attributes:
        width: of its layers; 768 for images base, 384 for speech base.
        layers: how many; images base 6, speech 4, text 5.
        kernel: size along each axis, odd; images base 3, speech 7, text 9.
        groups: of each convolution; 16, and 1 for text.
        residual: whether layers have a residual connection; not for text.
        input_dropout: on the student's outputs; 0 for images, 0.1 for speech and text.
        noise: standard deviation of what stands at the dropped positions, drawn anew in every pass.
        projection_layers: linear layers that lead to the targets' width; 1, and 2 for text.
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
                mend="choose a common divisor of the backbone's and the decoder's width",
            )
        dimensions = 1 if network.layout is None else len(network.layout.shape)
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

    def forward(self, context: Context, mask: BatchMask, padding: Tensor | None) -> Tensor:
        """Predictions (N, D) from visible outputs (R, V, D) and noise at the other positions.

        Padding is zero before every convolution, as what stands beyond the end of an unpadded sample is.
        """
        x = self._restore(context)  # (R, T, D)
        rows, t, width = x.shape
        if padding is not None:
            padding = padding.view(rows, 1, *context.tokens.layout.shape)  # (R, T) -> (R, 1, H, W)
        x = x.view(rows, *context.tokens.layout.shape, width).movedim(
            -1, 1
        )  # (R, T, D) -> (R, D, H, W), channels last in memory
        for convolution in self.convolutions:
            if padding is not None:
                x = x.masked_fill(padding, 0.0)
            y = convolution(x).movedim(1, -1)  # (R, H, W, D)
            y = nn.functional.gelu(nn.functional.layer_norm(y, y.shape[-1:])).movedim(-1, 1)
            x = y + x if self.spec.residual and y.shape == x.shape else y
        x = x.movedim(1, -1).reshape(rows * t, self.spec.width)  # (R·T, D)
        predictions: Tensor = self.projection(x.index_select(0, mask.predictions))
        return predictions

    def _restore(self, context: Context) -> Tensor:
        """The outputs (R, V, D) at their positions among noise: (R, T, D)."""
        visible = context.positions_only(context.output)  # (R, V, D)
        visible = nn.functional.dropout(visible, self.spec.input_dropout, self.training)
        if context.tokens.positions is None:
            return visible
        rows, _, width = visible.shape
        t = context.tokens.layout.positions
        noise = torch.randn(rows, t + 1, width, device=visible.device, dtype=visible.dtype) * self.spec.noise
        return restore(visible, context.tokens, noise)


def _initialize(layers: nn.Module, how: Initialization) -> nn.Module:
    for layer in layers.modules():
        if isinstance(layer, nn.Linear) and how != "uniform":
            if how == "normal":
                nn.init.normal_(layer.weight, std=0.02)
            else:
                nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.02, b=0.02)
            nn.init.zeros_(layer.bias)
    return layers
