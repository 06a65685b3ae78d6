"""The standard Transformer, with the variants of the systems that didact speaks of."""

from didact_transformer.attention import Attention
from didact_transformer.blocks import Block, FeedForward, Residual
from didact_transformer.initialization import DepthScaledInitialization, Initialization, NormalInitialization
from didact_transformer.positions import ALiBi, BEiTBias, RelativePositions, RelativePositionsModule
from didact_transformer.transformer import Transformer, TransformerModule

__all__ = [
    "ALiBi",
    "Attention",
    "BEiTBias",
    "Block",
    "DepthScaledInitialization",
    "FeedForward",
    "Initialization",
    "NormalInitialization",
    "RelativePositions",
    "RelativePositionsModule",
    "Residual",
    "Transformer",
    "TransformerModule",
]
