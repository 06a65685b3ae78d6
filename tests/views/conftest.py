from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from didact import Network
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
