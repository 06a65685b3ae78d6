"""Small instances of the components of didact-transformer, for the contract's rules; all have dropout switched off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from didact_kit import Example, TinyEncoder, TinySource
from didact_transformer.initialization import DepthScaledInitialization, NormalInitialization
from didact_transformer.positions import ALiBi, BEiTBias
from didact_transformer.transformer import Transformer

encoder = TinyEncoder(width=16)
grid = TinySource(height=3, length=4)
small = Transformer(width=16, depth=2, heads=4, dropout=0.0, attention_dropout=0.0)


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """The examples of each component, by short name."""
    return {
        "transformer": [
            Example(spec=small.evolve(depth=3, input_norm=True), encoder=encoder),
            Example(spec=small.evolve(norm="pre", layer_scale=0.1, key_bias=False), encoder=encoder, source=grid),
            Example(spec=small.evolve(positions=ALiBi()), encoder=encoder),
            Example(spec=small.evolve(positions=BEiTBias()), encoder=encoder, source=grid),
            Example(
                spec=small.evolve(positions=BEiTBias()), encoder=TinyEncoder(width=16, class_token=True), source=grid
            ),
        ],
        "alibi": [Example(spec=ALiBi())],
        "beit-bias": [Example(spec=BEiTBias())],
        "normal-initialization": [Example(spec=NormalInitialization())],
        "depth-scaled-initialization": [Example(spec=DepthScaledInitialization())],
    }
