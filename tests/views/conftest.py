from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from didact import BackboneOutput, Layout, Network, StudentPass, Tokens, View
from didact.randomness import seeded
from didact_kit import tiny_network
from didact_transformer import Transformer
from didact_views import Projected, Projector


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def network():
    """Makes a tiny network that ends in a projector."""

    def make(projector: Projector) -> Network:
        tiny = tiny_network()
        inner = Transformer(width=8, depth=2, heads=2, dropout=0.0, attention_dropout=0.0)
        with seeded(0, "projected"):
            backbone = Projected(backbone=inner, projector=projector).build(8, None)
        return Network(tiny.encoder, backbone, tiny.signal, tiny.layout)

    return make


@pytest.fixture
def passes_of() -> Callable[..., tuple[StudentPass, ...]]:
    """Makes passes that hold projections (B, P) alone, one for each view."""

    def make(*projections: Tensor) -> tuple[StudentPass, ...]:
        layout, samples = Layout((1,)), len(projections[0])
        view = View(content=torch.zeros(samples, 1), layout=layout)
        tokens = Tokens(features=torch.zeros(samples, 1, 8), layout=layout)
        outputs = [BackboneOutput(output=tokens.features, tokens=tokens, pooled=each) for each in projections]
        return tuple(
            StudentPass(index=index, view=view, tokens=tokens, backbone_output=output)
            for index, output in enumerate(outputs)
        )

    return make
