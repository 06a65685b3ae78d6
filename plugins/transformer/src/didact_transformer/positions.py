"""What attention is told of where two tokens stand, as a bias on its logits."""

from __future__ import annotations

import abc
import math

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact import Layout, Spec, SpecError, Tokens


@attrs.frozen(kw_only=True)
class RelativePositions(Spec, abc.ABC):
    """A bias on the attention's logits that depends on where two tokens stand."""

    @abc.abstractmethod
    def build(self, heads: int, layout: Layout | None) -> RelativePositionsModule:
        """The module.

        Args:
            heads: H of the attention.
            layout: of a sample, where all samples have the same; else None.

        Raises:
            SpecError: the layout is not one that these positions describe.
        """


class RelativePositionsModule(nn.Module, abc.ABC):
    """The weights of relative positions."""

    @abc.abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """The bias of each pair of tokens, which depends on their places alone and not on their order.

        Args:
            tokens: of which ``positions``, ``layout`` and ``extra`` count.

        Returns:
            (1 or R, H, V, V) float32; entry (…, i, j) is added where token i reads from token j.
        """


@attrs.frozen(kw_only=True)
class BEiTBias(RelativePositions):
    """A learned bias for every offset between two patches of a grid (BEiT, Bao et al. 2021), shared by all blocks.

    Starts at 0. Three more biases stand for class tokens: reading patches, being read by patches, and among
    themselves. Where a sample's grid is smaller than the one it was built for, its offsets are among the known ones.
    """

    def build(self, heads: int, layout: Layout | None) -> BEiTBiasModule:
        if layout is None or len(layout.shape) != 2:
            found = f"has the layout {layout.shape}" if layout is not None else "differs in size from sample to sample"
            raise SpecError(
                f"BEiTBias describes positions in a grid, but the encoder's output {found}",
                where="positions",
                mend="use it behind an image encoder and images of one size; sequences have ALiBi",
            )
        return BEiTBiasModule(heads, layout.shape[0], layout.shape[1])


class BEiTBiasModule(RelativePositionsModule):
    """The table of a `BEiTBias`: (2·height - 1)·(2·width - 1) offsets, row by row, then the three of class tokens."""

    def __init__(self, heads: int, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.table = nn.Parameter(torch.zeros((2 * height - 1) * (2 * width - 1) + 3, heads))

    def forward(self, tokens: Tokens) -> Tensor:
        shape = tokens.layout.shape
        if len(shape) != 2 or shape[0] > self.height or shape[1] > self.width:
            raise SpecError(
                f"the Transformer was built for a grid of {self.height} × {self.width} positions, "
                f"but is given the layout {shape}",
                where="positions",
            )
        places = _places(tokens)
        row, column = places // shape[1], places % shape[1]  # (1 or R, V) each
        offset = (_differences(row) + self.height - 1) * (2 * self.width - 1) + _differences(column) + self.width - 1
        if tokens.extra:
            offset = self._with_extra(offset, tokens.extra)
        # a look-up as an embedding: its gradient is a dense sum, several times faster on the CPU than that of indexing
        return F.embedding(offset, self.table).permute(0, 3, 1, 2).contiguous()  # (…, V, V, H) -> (…, H, V, V)

    def _with_extra(self, offset: Tensor, extra: int) -> Tensor:
        """(R, V, V) entries of the table for patches, with those of ``extra`` class tokens before them."""
        reads_patch, read_by_patch, between_extra = (self.table.shape[0] - k for k in (3, 2, 1))
        offset = F.pad(offset, (extra, 0), value=read_by_patch)  # (R, V, V) -> (R, V, E + V)
        offset = F.pad(offset, (0, 0, extra, 0), value=reads_patch)  # -> (R, E + V, E + V)
        offset[:, :extra, :extra] = between_extra
        return offset


@attrs.frozen(kw_only=True)
class ALiBi(RelativePositions):
    """Attention falls off with distance, at another rate in every head (ALiBi, Press et al. 2021).

    Symmetric, as the encoder of data2vec 2.0 on speech has it: head h adds -slope_h · |i - j|, where i and j count all
    positions, also those that were dropped between them. Extra tokens get no bias.

    Attributes:
        learned_scale: whether each head learns a factor of its slope, from 1 and never below 0, as in data2vec 2.0;
            all blocks share it.
    """

    learned_scale: bool = True

    def build(self, heads: int, layout: Layout | None) -> ALiBiModule:
        if layout is not None:
            _require_sequence(layout)
        return ALiBiModule(heads, learned_scale=self.learned_scale)


class ALiBiModule(RelativePositionsModule):
    """The slopes of an `ALiBi`, and their learned scales."""

    slopes: Tensor

    def __init__(self, heads: int, *, learned_scale: bool) -> None:
        super().__init__()
        self.register_buffer("slopes", alibi_slopes(heads), persistent=False)
        self.scale = nn.Parameter(torch.ones(heads)) if learned_scale else None

    def forward(self, tokens: Tokens) -> Tensor:
        _require_sequence(tokens.layout)
        distance = _differences(_places(tokens)).abs()
        distance = F.pad(distance, (tokens.extra, 0, tokens.extra, 0))  # (1 or R, V, V); extra tokens: 0
        slopes = self.slopes if self.scale is None else self.slopes * self.scale.clamp(min=0)  # (H,)
        return -slopes[:, None, None] * distance[:, None]  # (H, 1, 1) · (1 or R, 1, V, V) -> (1 or R, H, V, V)


def alibi_slopes(heads: int) -> Tensor:
    """The slope of each head: (H,) float32.

    2^(-8·1/H), 2^(-8·2/H), … where H is a power of two. Otherwise those of the power of two below, and after them every
    second one of the power above, as in the authors' code.
    """
    power = 2 ** math.floor(math.log2(heads))
    of_power = 2.0 ** (-8 * torch.arange(1, power + 1) / power)
    of_next = 2.0 ** (-8 * torch.arange(1, 2 * power + 1, 2) / (2 * power))
    return torch.cat([of_power, of_next[: heads - power]])


def _places(tokens: Tokens) -> Tensor:
    """Where each token but the extra ones stands among all positions: (1 or R, V) int64."""
    if tokens.positions is not None:
        return tokens.positions
    return torch.arange(tokens.layout.positions, device=tokens.features.device)[None]


def _differences(places: Tensor) -> Tensor:
    return places[:, :, None] - places[:, None, :]  # (R, V) -> (R, V, V)


def _require_sequence(layout: Layout) -> None:
    if len(layout.shape) != 1:
        raise SpecError(
            f"ALiBi describes distances in a sequence, but the positions are laid out as {layout.shape}",
            where="positions",
            mend="use it behind an encoder of speech or text; grids have BEiTBias",
        )
