"""A complete method in one file, as a plugin that only needs the core: it predicts the mean of its input."""

from __future__ import annotations

import attrs
import numpy as np
import torch
from torch import nn

from didact import (
    AdamW,
    Backbone,
    BackboneModule,
    BackboneOutput,
    BatchSize,
    Experiment,
    FeatureEncoder,
    FeatureEncoderModule,
    Layout,
    Loss,
    Objective,
    ObjectiveModule,
    Samples,
    Signal,
    Source,
    Target,
    TargetBuilder,
    TargetBuilderModule,
    Tokens,
    Training,
    hookimpl,
)


@attrs.frozen(kw_only=True)
class Ramps(Source):
    """Ramps of 4 values."""

    unit = "values"

    def signal(self):
        return Signal(kind="numbers", axes=(4,))

    def open(self):
        return OpenRamps()


class OpenRamps(Samples):
    lengths = np.full(16, 4.0)
    labels, classes, fingerprint = None, (), "ramps"

    def content(self, index):
        return torch.linspace(0, index / 16, 4)

    def views(self, index, *, length, generator):
        return (self.content(index) + 0.1 * torch.rand(4, generator=generator),)

    def name(self, index):
        return f"ramp {index}"


@attrs.frozen(kw_only=True)
class Values(FeatureEncoder):
    """Each value (T,) as a vector."""

    width: int = 3

    def layout(self, size):
        return Layout(tuple(size))

    def build(self, signal):
        return ValuesModule(self.width)


class ValuesModule(FeatureEncoderModule):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(1, width)

    def embed(self, view):
        return Tokens(features=self.linear(view.content[..., None]), layout=view.layout, padding=view.padding)

    def place(self, tokens, mask):
        return tokens


@attrs.frozen(kw_only=True)
class Line(Backbone):
    """One linear map."""

    def build(self, width, layout):
        return LineModule(width)


class LineModule(BackboneModule):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, tokens, hidden_states=()):
        return BackboneOutput(output=self.blocks[0](tokens.features), tokens=tokens)


@attrs.frozen(kw_only=True)
class Means(TargetBuilder):
    """The mean of each sample's content."""

    def build(self, network):
        return MeansModule()


class MeansModule(TargetBuilderModule):
    width = 1

    def forward(self, batch, passes, network):
        return (Target(view=0, values=passes[0].view.content.mean(1, keepdim=True), level="sample"),)


@attrs.frozen(kw_only=True)
class Squares(Objective):
    """Squared distances of a linear prediction."""

    def build(self, network, targets):
        return SquaresModule(network.backbone.width)


class SquaresModule(ObjectiveModule):
    def __init__(self, width):
        super().__init__()
        self.head = nn.Linear(width, 1)

    def num_targets(self, batch):
        return {"squares": len(batch.ids)}

    def forward(self, batch, passes, targets):
        predicted = self.head(passes[0].backbone_output.output.mean(1))
        return Loss(terms={"squares": (predicted - targets[0].values).square().sum()})


@hookimpl
def didact_components():
    return {cls.__name__.lower(): cls for cls in (Ramps, Values, Line, Means, Squares)}


experiment = Experiment(
    name="toy",
    source=Ramps(),
    encoder=Values(),
    backbone=Line(),
    targets=Means(),
    objective=Squares(),
    training=Training(
        steps=2_000,
        batch=BatchSize.samples(4),
        optimizer=AdamW(learning_rate=1e-2),
        num_workers=0,
        log_every=10,
        checkpoint_every=20,
    ),
)
