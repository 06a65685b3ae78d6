"""Initialisation of the linear layers of the blocks."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence

import attrs
from torch import nn

from didact import Spec
from didact_transformer.blocks import Block


@attrs.frozen(kw_only=True)
class Initialization(Spec, abc.ABC):
    """How the linear layers of the blocks are initialised. Norms start as the identity, biases at 0."""

    @abc.abstractmethod
    def initialize(self, blocks: Sequence[Block]) -> None:
        """Draws the weights of ``blocks`` in place, from lower to upper, from PyTorch's default generator."""


@attrs.frozen(kw_only=True)
class NormalInitialization(Initialization):
    """Every weight is drawn from N(0, std²), as in BERT, wav2vec 2.0 and both data2vecs, except data2vec on images.

    Attributes:
        std: standard deviation of the weights; 0.02 since GPT (2018).
    """

    std: float = 0.02

    def validate(self) -> None:
        self.require(self.std > 0, "std", "above 0")

    def initialize(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            for layer in _linear_layers(block):
                nn.init.normal_(layer.weight, std=self.std)


@attrs.frozen(kw_only=True)
class DepthScaledInitialization(Initialization):
    """BEiT's initialisation: a truncated normal distribution, scaled down with depth at the end of each branch.

    Weights are drawn from N(0, std²), truncated at one standard deviation. The last layer of both branches of block i,
    counted from 1, is divided by √(2i), so that the variance of the residual stream does not grow with depth (Bao et
    al. 2021, section 2.5).

    Attributes:
        std: standard deviation of the normal distribution before truncation; 0.02 in BEiT.
    """

    std: float = 0.02

    def validate(self) -> None:
        self.require(self.std > 0, "std", "above 0")

    def initialize(self, blocks: Sequence[Block]) -> None:
        for number, block in enumerate(blocks, start=1):
            for layer in _linear_layers(block):
                nn.init.trunc_normal_(layer.weight, std=self.std, a=-self.std, b=self.std)
            for last in (block.attention.projection, block.ffn.outer):
                last.weight.data.div_(math.sqrt(2 * number))


def _linear_layers(block: Block) -> list[nn.Linear]:
    """Sets the biases of a block's linear layers to 0, and returns the layers."""
    layers = [module for module in block.modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layers
