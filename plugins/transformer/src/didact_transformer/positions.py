"""Relative positions: a bias on the attention's logits for each pair of tokens."""

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
    """A bias on the attention's logits that depends on the positions of the two tokens."""

    @abc.abstractmethod
    def build(self, heads: int, layout: Layout | None) -> RelativePositionsModule:
        """Builds the module.

        Args:
            heads: H, the number of attention heads.
            layout: the layout that all samples share; None if it differs between samples.

        Raises:
            SpecError: these positions do not support the layout.
        """


class RelativePositionsModule(nn.Module, abc.ABC):
    """The weights of relative positions."""

    @abc.abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """The bias of each pair of tokens. It depends on their positions in the layout, not on their order.

        Args:
            tokens: the sequence; its ``positions``, ``layout`` and ``num_prefix_tokens`` are used.

        Returns:
            (1 or R, H, V, V) float32; entry (…, i, j) is added to the logit with which token i attends to token j.
        """


@attrs.frozen(kw_only=True)
class BEiTBias(RelativePositions):
    """A learned bias for every offset between two patches of a grid (BEiT, Bao et al. 2021), shared by all blocks.

    All biases start at 0. Class tokens have three further biases: for attending to patches, for being attended to by
    patches, and for attention among themselves. A sample's grid may be smaller than the one that the table was built
    for.
    """

    def build(self, heads: int, layout: Layout | None) -> BEiTBiasModule:
        if layout is None or len(layout.shape) != 2:
            found = f"has the layout {layout.shape}" if layout is not None else "differs in size from sample to sample"
            raise SpecError(
                f"BEiTBias supports positions in a grid, but the encoder's output {found}",
                where="positions",
                hint="use an image encoder and images of one size, or ALiBi for sequences",
            )
        return BEiTBiasModule(heads, layout.shape[0], layout.shape[1])


class BEiTBiasModule(RelativePositionsModule):
    """The table of a `BEiTBias`: (2·height - 1)·(2·width - 1) offsets by rows, then the three of class tokens."""

    def __init__(self, heads: int, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.table = nn.Parameter(torch.zeros((2 * height - 1) * (2 * width - 1) + 3, heads))

    def no_weight_decay(self) -> set[str]:
        """The names of the parameters that are exempt from weight decay."""
        return {"table"}

    def forward(self, tokens: Tokens) -> Tensor:
        shape = tokens.layout.shape
        if len(shape) != 2 or shape[0] > self.height or shape[1] > self.width:
            raise SpecError(
                f"the Transformer was built for a grid of {self.height} × {self.width} positions, "
                f"but the layout is {shape}",
                where="positions",
                hint="use images of at most the size that the Transformer was built for",
            )
        places = _places(tokens)
        row, column = places // shape[1], places % shape[1]  # (1 or R, V) each
        offset = (_differences(row) + self.height - 1) * (2 * self.width - 1) + _differences(column) + self.width - 1
        if tokens.num_prefix_tokens:
            offset = self._with_extra(offset, tokens.num_prefix_tokens)
        # a look-up as an embedding: its gradient is a dense sum, several times faster on the CPU than that of indexing
        return F.embedding(offset, self.table).permute(0, 3, 1, 2).contiguous()  # (…, V, V, H) -> (…, H, V, V)

    def _with_extra(self, offset: Tensor, extra: int) -> Tensor:
        """Puts the entries of ``extra`` class tokens before those of the patches, (R, V, V)."""
        reads_patch, read_by_patch, between_extra = (self.table.shape[0] - k for k in (3, 2, 1))
        offset = F.pad(offset, (extra, 0), value=read_by_patch)  # (R, V, V) -> (R, V, E + V)
        offset = F.pad(offset, (0, 0, extra, 0), value=reads_patch)  # -> (R, E + V, E + V)
        offset[:, :extra, :extra] = between_extra
        return offset


@attrs.frozen(kw_only=True)
class ALiBi(RelativePositions):
    """A bias that decreases with distance, at a different rate in each head (ALiBi, Press et al. 2021).

    It is symmetric, as in the encoder of data2vec 2.0 on speech: head h adds -slope_h · |i - j|, where i and j are the
    positions in the layout, with dropped positions counted. Prefix tokens get no bias.

    Attributes:
        learned_scale: whether each head learns a factor on its slope, as in data2vec 2.0. It starts at 1, is never
            below 0, and is shared by all blocks.
    """

    learned_scale: bool = True

    def build(self, heads: int, layout: Layout | None) -> ALiBiModule:
        if layout is not None:
            _require_sequence(layout)
        return ALiBiModule(heads, learned_scale=self.learned_scale)


class ALiBiModule(RelativePositionsModule):
    """The slopes of an `ALiBi`, and their learned factors."""

    slopes: Tensor

    def __init__(self, heads: int, *, learned_scale: bool) -> None:
        super().__init__()
        self.register_buffer("slopes", alibi_slopes(heads), persistent=False)
        self.scale = nn.Parameter(torch.ones(heads)) if learned_scale else None

    def no_weight_decay(self) -> set[str]:
        """The names of the parameters that are exempt from weight decay."""
        return {"scale"} if self.scale is not None else set()

    def forward(self, tokens: Tokens) -> Tensor:
        _require_sequence(tokens.layout)
        distance = _differences(_places(tokens)).abs()
        distance = F.pad(
            distance, (tokens.num_prefix_tokens, 0, tokens.num_prefix_tokens, 0)
        )  # (1 or R, V, V); extra tokens: 0
        slopes = self.slopes if self.scale is None else self.slopes * self.scale.clamp(min=0)  # (H,)
        return -slopes[:, None, None] * distance[:, None]  # (H, 1, 1) · (1 or R, 1, V, V) -> (1 or R, H, V, V)


def alibi_slopes(heads: int) -> Tensor:
    """The slope of each head: (H,) float32.

    If H is a power of two, the slopes are 2^(-8·1/H), 2^(-8·2/H), …. Otherwise they are the slopes of the next lower
    power of two, followed by every second slope of the next higher one, as in the authors' code.
    """
    power = 2 ** math.floor(math.log2(heads))
    of_power = 2.0 ** (-8 * torch.arange(1, power + 1) / power)
    of_next = 2.0 ** (-8 * torch.arange(1, 2 * power + 1, 2) / (2 * power))
    return torch.cat([of_power, of_next[: heads - power]])


def _places(tokens: Tokens) -> Tensor:
    """The position in the layout of each token, without prefix tokens: (1 or R, V) int64."""
    if tokens.positions is not None:
        return tokens.positions
    return torch.arange(tokens.layout.positions, device=tokens.features.device)[None]


def _differences(places: Tensor) -> Tensor:
    return places[:, :, None] - places[:, None, :]  # (R, V) -> (R, V, V)


def _require_sequence(layout: Layout) -> None:
    if len(layout.shape) != 1:
        raise SpecError(
            f"ALiBi supports distances in a sequence, but the layout of the positions is {layout.shape}",
            where="positions",
            hint="use an encoder of speech or text, or BEiTBias for grids",
        )
