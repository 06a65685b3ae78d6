"""A network small enough to compute by hand: a linear embedding, and blocks of one linear layer each."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
import torch
from torch import Tensor, nn

from didact import (
    BackboneModule,
    BackboneOutput,
    Batch,
    BatchMask,
    FeatureEncoderModule,
    HiddenState,
    Layout,
    Mask,
    Network,
    Signal,
    Tokens,
    View,
)
from didact.placing import corrupt, drop


class TinyEncoder(FeatureEncoderModule):
    position_parts = ("positions", "scale")

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Linear(3, width)
        self.positions = nn.Linear(1, width)
        self.mask = nn.Parameter(torch.zeros(width))
        self.dropout = nn.Dropout(dropout)
        self.scale = nn.Parameter(torch.tensor([1.0]))
        self.register_buffer("counter", torch.tensor(7))
        self.frozen = nn.Parameter(torch.tensor(1.0), requires_grad=False)

    def embed(self, view: View) -> Tokens:
        return Tokens(features=self.embedding(view.content), padding=view.padding, layout=view.layout)

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        features = corrupt(tokens.features, mask, self.mask, padding=tokens.padding)
        steps = torch.arange(features.shape[1], dtype=torch.float32)[:, None]
        features = self.dropout(features + self.scale * self.positions(steps))
        return drop(attrs.evolve(tokens, features=features), mask)


class TinyBackbone(BackboneModule):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, tokens: Tokens, hidden_states: Sequence[HiddenState] = ()) -> BackboneOutput:
        x, features = tokens.features, []
        for block in self.blocks:
            y = block(x)
            features.append(y)
            x = x + torch.tanh(y)
        kept = tuple(features[wanted.block] for wanted in hidden_states)
        return BackboneOutput(output=x, tokens=tokens, hidden_states=kept)


@pytest.fixture
def make_network():
    def make(width: int = 8, depth: int = 3, dropout: float = 0.0, layout: Layout | None = None) -> Network:
        torch.manual_seed(0)
        signal = Signal(kind="vectors", axes=(None, 3))
        return Network(TinyEncoder(width, dropout), TinyBackbone(width, depth), signal, layout)

    return make


@pytest.fixture
def make_batch():
    def make(predicted: Tensor, dropped: bool = False, layout: Layout | None = None, seed: int = 0) -> Batch:
        """A batch behind the masks ``predicted`` (B, M, T)."""
        samples, _, positions = predicted.shape
        generator = torch.Generator().manual_seed(seed)
        kind = Mask.drop if dropped else Mask.hide
        view = View(
            content=torch.randn(samples, positions, 3, generator=generator),
            layout=layout or Layout((positions,)),
            mask=BatchMask.collate([kind(rows) for rows in predicted], positions),
        )
        return Batch(views=(view,), ids=torch.arange(samples))

    return make
