"""Which patches of an image are predicted: scattered ones, blocks, or all but a few blocks."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from typing import Literal

import attrs
import numpy as np
import torch

from didact import Finding, Layout, Mask, Masker, Preflight, SpecError


@attrs.frozen(kw_only=True)
class RatioMasker(Masker, abc.ABC):
    """A masker that is told which share of an image's patches to mask.

    Attributes:
        ratio: share of the positions that are masked; what stays visible is rounded down.
        masks: M, how many masks each sample gets. The teacher runs once for all of them (data2vec 2.0, §3.1).
    """

    ratio: float
    masks: int = 1

    def validate(self) -> None:
        self.require(0 < self.ratio < 1, "ratio", "above 0 and below 1")
        self.require(self.masks >= 1, "masks", "at least 1")

    def kept(self, layout: Layout) -> int:
        """How many of the layout's positions stay visible.

        Raises:
            SpecError: all of them, or none.
        """
        kept = math.floor(layout.positions * (1 - self.ratio) + 1e-6)  # 100 · (1 - 0.9) is 9.99… in floating point
        if not 0 < kept < layout.positions:
            raise SpecError(
                f"{type(self).__name__}(ratio={self.ratio:g}) would mask {'nothing' if kept else 'everything'} of a "
                f"sample of {layout.positions} positions {layout.shape}",
                where="ratio",
                mend=f"{'raise' if kept else 'lower'} the ratio, or cut samples into more positions (smaller patches)",
            )
        return kept

    def grid(self, layout: Layout) -> tuple[int, int]:
        """The layout's height and width in patches.

        Raises:
            SpecError: it is a sequence.
        """
        if len(layout.shape) != 2:
            raise SpecError(
                f"{type(self).__name__} masks blocks of a grid, but samples are laid out as {layout.shape}",
                mend="use an encoder that gives a grid, such as didact_vision.Patches, or RandomMasker",
            )
        return layout.shape[0], layout.shape[1]


@attrs.frozen(kw_only=True)
class RandomMasker(RatioMasker):
    """Masks scattered positions of a grid or a sequence, each as likely as any other.

    He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, §3.

    Attributes:
        ratio: share of the positions that are masked; MAE 0.75. What stays visible is rounded down.
        masks: M, how many masks each sample gets; MAE 1.
        corruption: ``drop`` takes masked positions out of the student's sequence (MAE), ``hide`` puts the mask
            embedding there (BEiT, data2vec).
    """

    ratio: float = 0.75
    corruption: Literal["drop", "hide"] = "drop"

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        noise = torch.rand(self.masks, layout.positions, generator=generator)  # (M, T)
        predicted = all_but_highest(noise, self.kept(layout))
        return Mask.drop(predicted) if self.corruption == "drop" else Mask.hide(predicted)


@attrs.frozen(kw_only=True)
class InverseBlockMasker(RatioMasker):
    """Keeps a few square blocks visible and takes everything else out of the student's sequence.

    Baevski et al. 2022, data2vec 2.0, §3.3. Blocks are square and may overlap; at a border a block's overhanging
    cells fall on the border's own. Single patches are then added or taken away at random, so that every mask of a
    layout keeps equally many.

    Attributes:
        ratio: share of the patches that are masked; data2vec 2.0: 0.8, and 0.75 for large and huge. What stays visible
            is rounded down: 39 of 196 patches.
        masks: M, how many masks each image gets; data2vec 2.0: 16.
        block: patches along the side of a block; data2vec 2.0: 3.
        adjust: added to the visible share when blocks are counted, to make up for their overlap; data2vec 2.0: 0.07,
            and 0.1 for large and huge. So 5 blocks on 14 × 14 patches.
    """

    ratio: float = 0.8
    masks: int = 16
    block: int = 3
    adjust: float = 0.07

    def validate(self) -> None:
        super().validate()
        self.require(self.block >= 1, "block", "at least 1")
        self.require(self.adjust >= 0, "adjust", "at least 0")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """The blocks against the grids there are."""
        for layout in preflight.layouts:
            height, width = self.grid(layout)
            kept, blocks = self.kept(layout), self._blocks(layout)
            said = f"{blocks} blocks of {self.block} × {self.block} in {height} × {width} patches, of which {kept} stay"
            if blocks == 0:
                yield Finding.warning(
                    f"{said} visible: they are scattered ones instead of blocks",
                    where="block",
                    mend=f"block={max(1, math.isqrt(kept))}, or smaller patches",
                )
            else:
                yield Finding.fine(f"{said} visible", where="block")

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        height, width = self.grid(layout)
        if self.block > min(height, width):
            raise SpecError(
                f"InverseBlockMasker.block must be at most the grid's shorter side, {min(height, width)}, "
                f"got {self.block}",
                where="block",
                mend=f"use smaller blocks or smaller patches: an image has {height} × {width} patches here",
            )
        kept, positions, blocks = self.kept(layout), layout.positions, self._blocks(layout)
        centres = torch.randint(positions, (self.masks, blocks), generator=generator)  # (M, C), with replacement
        reach = torch.arange(self.block) - self.block // 2
        rows = (centres[..., None] // width + reach).clamp(0, height - 1)  # (M, C, block)
        columns = (centres[..., None] % width + reach).clamp(0, width - 1)  # (M, C, block)
        cells = rows[..., :, None] * width + columns[..., None, :]  # (M, C, block, block)
        in_block = torch.zeros(self.masks, positions).scatter_(1, cells.flatten(1), 1.0)  # (M, T)
        # whole numbers decide first: the blocks' patches before the others, and chance among equals
        order = in_block + torch.rand(self.masks, positions, generator=generator)
        return Mask.drop(all_but_highest(order, kept))

    def _blocks(self, layout: Layout) -> int:
        """How many blocks are drawn for each mask."""
        return int(layout.positions * (1 - self.ratio + self.adjust) / self.block**2 + 1e-6)


@attrs.frozen(kw_only=True)
class BlockMasker(RatioMasker):
    """Hides rectangular blocks of patches, one after the other, until enough are hidden.

    Bao et al. 2022, BEiT, algorithm 1, as released: each block draws its area and its aspect, has ten attempts to
    cover something new without covering too much, and the first block that fails all of them ends the mask. So the
    count is at most the ratio's (of 120 on 14 × 14 patches: 119.5 on average, exactly 120 in 70 % of masks) and may
    differ from mask to mask.

    Attributes:
        ratio: share of the patches that are hidden, at most; data2vec: 120 of 196 (BEiT: 75 of 196).
        masks: M, how many masks each image gets; data2vec 1: 1.
        min_area: patches of a block, at least, as long as so many are left to hide; BEiT 16.
        min_aspect: of a block's height to its width; it is drawn log-uniformly up to the inverse of this. BEiT 0.3.
    """

    ratio: float = 120 / 196
    min_area: int = 16
    min_aspect: float = 0.3

    def validate(self) -> None:
        super().validate()
        self.require(self.min_area >= 1, "min_area", "at least 1")
        self.require(0 < self.min_aspect <= 1, "min_aspect", "above 0 and at most 1")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """The blocks against the grids there are."""
        for layout in preflight.layouts:
            height, width = self.grid(layout)
            hidden = layout.positions - self.kept(layout)
            said = f"{hidden} of {height} × {width} patches are hidden by blocks of {self.min_area} or more"
            if 2 * self.min_area > hidden:
                yield Finding.warning(
                    f"{said}: a single one",
                    where="min_area",
                    mend=f"min_area={max(1, hidden // 6)}, or smaller patches",
                )
            else:
                yield Finding.fine(said, where="min_area")

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        shape = self.grid(layout)
        count = layout.positions - self.kept(layout)
        draws = _uniforms(generator)
        hidden = np.stack([self._mask(shape, count, draws) for _ in range(self.masks)])  # (M, H, W)
        return Mask.hide(torch.from_numpy(hidden).flatten(1))  # (M, H, W) -> (M, T)

    def _mask(self, shape: tuple[int, int], count: int, draws: Iterator[list[float]]) -> np.ndarray:
        """One mask (H, W) bool with at most ``count`` true and at least one."""
        hidden = np.zeros(shape, dtype=bool)
        left = count
        while left > 0:
            # BEiT gives ten attempts to the first block as well, and might hide nothing at all
            attempts = 10 if left < count else 1000
            new = next(filter(None, (self._try_block(hidden, left, next(draws)) for _ in range(attempts))), 0)
            if new == 0:
                break
            left -= new
        if left == count:
            raise SpecError(
                f"BlockMasker would mask nothing: no block of {self.min_area} patches or more, with an aspect of "
                f"{self.min_aspect:g} or more, fits in a grid of {shape[0]} × {shape[1]} patches",
                where="min_area",
                mend="lower min_area, or use smaller patches",
            )
        return hidden

    def _try_block(self, hidden: np.ndarray, left: int, draw: list[float]) -> int:
        """Hides a block of ``hidden`` (H, W), if it covers something new and at most ``left``; how much is new."""
        height, width = hidden.shape
        area = self.min_area + draw[0] * (left - self.min_area)
        aspect = math.exp(math.log(self.min_aspect) * (1 - 2 * draw[1]))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h >= height or w >= width:
            return 0
        top, left_edge = int(draw[2] * (height - h + 1)), int(draw[3] * (width - w + 1))
        block = hidden[top : top + h, left_edge : left_edge + w]
        new = h * w - int(np.count_nonzero(block))
        if not 0 < new <= left:
            return 0
        block[:] = True
        return new


def all_but_highest(order: torch.Tensor, count: int) -> torch.Tensor:
    """True everywhere but at each row's ``count`` highest values.

    Args:
        order: (M, T) floats.
        count: how many of each row's T.

    Returns:
        (M, T) bool.
    """
    highest = order.topk(count, dim=1, sorted=False).indices  # (M, count)
    return torch.ones_like(order, dtype=torch.bool).scatter_(1, highest, False)


def _uniforms(generator: torch.Generator) -> Iterator[list[float]]:
    """Rows of four numbers in [0, 1), drawn many at a time: one by one would cost more than the blocks."""
    while True:
        yield from torch.rand(64, 4, generator=generator, dtype=torch.float64).tolist()
