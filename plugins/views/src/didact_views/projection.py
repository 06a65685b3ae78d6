"""A backbone with a pooled and projected vector for each row, for methods that compare views."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Literal

import attrs
from torch import Tensor, nn

from didact import Backbone, BackboneModule, BackboneOutput, HiddenState, Layout, Spec, SpecError, Tokens
from didact.errors import of_field
from didact.tensors import mean_over_positions
from didact_views.normalization import BatchNorm


@attrs.frozen(kw_only=True)
class Projector(Spec, abc.ABC):
    """Maps a pooled vector to the projection that the objective compares."""

    @property
    def supports_accumulation(self) -> bool:
        """Whether a row's projection is independent of the other rows."""
        return True

    @abc.abstractmethod
    def build(self, width: int) -> ProjectorModule:
        """Builds the module for inputs of ``width``."""


class ProjectorModule(nn.Module, abc.ABC):
    """The module of a projector.

    Attributes:
        width: P, the width of its output.
    """

    width: int

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Projects x (R, D): (R, P)."""


@attrs.frozen(kw_only=True)
class MLP(Projector):
    """Linear layers with batch normalisation and ReLU between them; the defaults are BYOL's projector.

    BYOL (section 3.3): 2 layers of 4096 to 256. SimSiam (section 3): 3 layers of 2048 to 2048, ``output_norm="batch"``.
    VICReg's expander (section 4.2): 3 layers of 8192 to 8192.

    Attributes:
        layers: number of linear layers.
        hidden: output width of all layers but the last.
        out: P, output width of the last layer.
        norm: the normalisation after each layer but the last. ``batch`` normalises over the global batch, on all
            processes, and does not support gradient accumulation.
        output_norm: the normalisation after the last layer; SimSiam ``batch``, which has no learned scale and shift (as
            released).
    """

    layers: int = 2
    hidden: int = 4096
    out: int = 256
    norm: Literal["batch", "none"] = "batch"
    output_norm: Literal["batch", "none"] = "none"

    def validate(self) -> None:
        for field in ("layers", "hidden", "out"):
            self.require(getattr(self, field) >= 1, field, "at least 1")

    @property
    def supports_accumulation(self) -> bool:
        return "batch" not in (self.norm if self.layers > 1 else "none", self.output_norm)

    def build(self, width: int) -> MLPModule:
        return MLPModule(self, width)


class MLPModule(ProjectorModule):
    """The weights of an `MLP`."""

    def __init__(self, spec: MLP, width: int) -> None:
        super().__init__()
        self.width = spec.out
        layers: list[nn.Module] = []
        for _ in range(spec.layers - 1):
            layers.append(nn.Linear(width, spec.hidden, bias=spec.norm == "none"))  # the norm subtracts the mean
            if spec.norm == "batch":
                layers.append(BatchNorm(spec.hidden))
            layers.append(nn.ReLU(inplace=True))
            width = spec.hidden
        layers.append(nn.Linear(width, spec.out, bias=spec.output_norm == "none"))
        if spec.output_norm == "batch":
            layers.append(BatchNorm(spec.out, affine=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Projects x (R, D): (R, P)."""
        projected: Tensor = self.layers(x)
        return projected


@attrs.frozen(kw_only=True)
class PrototypeHead(Projector):
    """Linear layers, a bottleneck normalised to length 1, and its cosine with each prototype; the defaults are DINO's.

    DINO: Caron et al. 2021, section 3.1 and appendix C. SwAV (Caron et al. 2020): ``PrototypeHead(layers=2,
    bottleneck=128, prototypes=3000, norm="batch", activation="relu")``. Prototypes are normalised to length 1 too, so a
    projection holds C cosines. They are normalised in the forward pass, as by DINO's ``norm_last_layer``; SwAV's code
    normalises the weights themselves after each step.

    Attributes:
        layers: number of linear layers, including the bottleneck.
        hidden: output width of all linear layers but the last.
        bottleneck: output width of the last linear layer.
        prototypes: C, the number of prototypes; DINO 65 536. Fewer suffice for fewer images.
        norm: the normalisation before each activation. ``none``: for Vision Transformers. ``batch``: the released
            code's ``use_bn``, over the global batch; it helps if the projections of all images are nearly equal at
            first. SwAV always has it.
        activation: the activation after all linear layers but the last; DINO ``gelu``, SwAV ``relu``.
    """

    layers: int = 3
    hidden: int = 2048
    bottleneck: int = 256
    prototypes: int = 65_536
    norm: Literal["batch", "none"] = "none"
    activation: Literal["gelu", "relu"] = "gelu"

    def validate(self) -> None:
        for field in ("layers", "hidden", "bottleneck", "prototypes"):
            self.require(getattr(self, field) >= 1, field, "at least 1")

    @property
    def supports_accumulation(self) -> bool:
        return self.norm == "none" or self.layers == 1

    def build(self, width: int) -> PrototypeHeadModule:
        return PrototypeHeadModule(self, width)


class PrototypeHeadModule(ProjectorModule):
    """The weights of a `PrototypeHead`.

    Attributes:
        prototypes: (C, bottleneck); only their directions matter.
    """

    def __init__(self, spec: PrototypeHead, width: int) -> None:
        super().__init__()
        self.width = spec.prototypes
        widths = [width, *[spec.hidden] * (spec.layers - 1), spec.bottleneck]
        layers: list[nn.Module] = []
        for index in range(spec.layers):
            linear = nn.Linear(widths[index], widths[index + 1])
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
            norm = [BatchNorm(widths[index + 1])] if spec.norm == "batch" and index < spec.layers - 1 else []
            layers += [linear, *norm, nn.GELU() if spec.activation == "gelu" else nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.prototypes = nn.Parameter(nn.Linear(spec.bottleneck, spec.prototypes, bias=False).weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Projects x (R, D) and returns its cosine with every prototype: (R, C)."""
        directions = nn.functional.normalize(self.layers(x).float(), dim=-1)  # (R, bottleneck)
        cosines: Tensor = nn.functional.linear(directions, nn.functional.normalize(self.prototypes, dim=-1))
        return cosines


@attrs.frozen(kw_only=True)
class Projected(Backbone):
    """A backbone whose output is also pooled over the positions and projected, as `BackboneOutput.pooled`.

    The projector is part of the backbone, so a teacher averages its weights too. The output, blocks and hidden states
    are those of the inner backbone.

    Attributes:
        backbone: the inner backbone, of any kind.
        pooling: how positions are pooled. ``mean``: the mean over all positions except padding. ``class``: the first
            prefix token, as in DINO on Vision Transformers.
        projector: the projector of the pooled vector; `MLP` or `PrototypeHead`.
    """

    backbone: Backbone
    pooling: Literal["mean", "class"] = "mean"
    projector: Projector = MLP()

    @property
    def supports_accumulation(self) -> bool:
        return self.backbone.supports_accumulation and self.projector.supports_accumulation

    @property
    def supports_padding(self) -> bool:
        return self.backbone.supports_padding

    @property
    def supports_dropping(self) -> bool:
        return self.backbone.supports_dropping

    def build(self, width: int, layout: Layout | None) -> ProjectedModule:
        with of_field("backbone"):
            backbone = self.backbone.build(width, layout)
        return ProjectedModule(self, backbone)


class ProjectedModule(BackboneModule):
    """The inner backbone and the projector."""

    def __init__(self, spec: Projected, inner: BackboneModule) -> None:
        super().__init__()
        self.pooling = spec.pooling
        self.inner = inner
        self.width = inner.width
        self.projector = spec.projector.build(inner.width)
        self.pooled_width = self.projector.width
        self.features = inner.features

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]  # a second reference would be a second name of each weight
        """The blocks of the inner backbone."""
        return self.inner.blocks

    def forward(self, tokens: Tokens, hidden_states: Sequence[HiddenState] = ()) -> BackboneOutput:
        """Contextualises (R, V, D) and adds the projection (R, P)."""
        context: BackboneOutput = self.inner(tokens, hidden_states)
        return attrs.evolve(context, pooled=self.projector(self._pool(context)))

    def _pool(self, context: BackboneOutput) -> Tensor:
        """Pools the positions of each row: (R, D)."""
        if self.pooling == "class":
            if not context.tokens.num_prefix_tokens:
                raise SpecError(
                    'Projected.pooling="class" takes the class token, and the encoder gives none',
                    where="experiment.backbone.pooling",
                    hint='give the encoder a class token, or take pooling="mean"',
                )
            return context.output[:, 0]
        padding = context.tokens.padding
        if padding is not None:
            padding = padding[:, context.tokens.num_prefix_tokens :]  # (R, V)
        return mean_over_positions(context.positions_only(context.output), padding)
