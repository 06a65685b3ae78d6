"""Masks of patches: scattered patches, blocks, or all but a few blocks."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from typing import Literal

import attrs
import numpy as np
import torch

from didact import Corruption, Layout, Mask, Masker, Masking, SpecError
from didact.preflight import Finding, Preflight

ATTEMPTS = 20  # draws of a MultiBlockMasker before its settings are rejected, as in the released code


@attrs.frozen(kw_only=True)
class RatioMasker(Masker, abc.ABC):
    """A masker with a fixed share of masked patches.

    Attributes:
        ratio: share of the positions that are masked; the number of visible ones is rounded down.
        masks: M, the number of masks of each sample. The teacher runs once for all of them (data2vec 2.0, §3.1).
    """

    ratio: float
    masks: int = 1

    def validate(self) -> None:
        self.require(0 < self.ratio < 1, "ratio", "above 0 and below 1")
        self.require(self.masks >= 1, "masks", "at least 1")

    def kept(self, layout: Layout) -> int:
        """The number of the layout's positions that stay visible.

        Raises:
            SpecError: all positions would stay visible, or none.
        """
        kept = math.floor(layout.positions * (1 - self.ratio) + 1e-6)  # 100 · (1 - 0.9) is 9.99… in floating point
        if not 0 < kept < layout.positions:
            raise SpecError(
                f"{type(self).__name__}(ratio={self.ratio:g}) would mask {'nothing' if kept else 'everything'} of a "
                f"sample of {layout.positions} positions {layout.shape}",
                where="ratio",
                hint=f"{'raise' if kept else 'lower'} the ratio, or use smaller patches, which give more positions",
            )
        return kept

    def grid(self, layout: Layout) -> tuple[int, int]:
        """The layout's height and width in patches.

        Raises:
            SpecError: the layout is a sequence.
        """
        if len(layout.shape) != 2:
            raise SpecError(
                f"{type(self).__name__} masks blocks of a grid, but the layout of the samples is {layout.shape}",
                hint="use an encoder whose positions form a grid, such as didact_vision.Patches, or use RandomMasker",
            )
        return layout.shape[0], layout.shape[1]


@attrs.frozen(kw_only=True)
class RandomMasker(RatioMasker):
    """Masks positions of a grid or a sequence uniformly at random.

    He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, §3.

    Attributes:
        ratio: share of the positions that are masked; 0.75 in MAE. The number of visible ones is rounded down.
        masks: M, the number of masks of each sample; 1 in MAE.
        corruption: ``drop`` removes masked positions from the student's sequence (MAE), ``hide`` replaces them by the
            mask embedding (BEiT, data2vec).
    """

    ratio: float = 0.75
    corruption: Literal["drop", "hide"] = "drop"

    @property
    def masking(self) -> Masking:
        return Masking.of(self.corruption, masks=self.masks)

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        noise = torch.rand(self.masks, layout.positions, generator=generator)  # (M, T)
        predicted = all_but_highest(noise, self.kept(layout))
        return Mask.drop(predicted) if self.corruption == "drop" else Mask.hide(predicted)


@attrs.frozen(kw_only=True)
class InverseBlockMasker(RatioMasker):
    """Keeps a few square blocks visible and drops everything else from the student's sequence.

    Baevski et al. 2022, data2vec 2.0, §3.3. Blocks may overlap. Cells of a block beyond the border are moved to the
    border. Single patches are then added or removed at random, so that all masks of a layout keep the same number.

    Attributes:
        ratio: share of the patches that are masked; in data2vec 2.0 0.8, and 0.75 for large and huge. The number of
            visible ones is rounded down: 39 of 196 patches.
        masks: M, the number of masks of each image; 16 in data2vec 2.0.
        block: side of a block, in patches; 3 in data2vec 2.0.
        adjust: added to the visible share to compute the number of blocks, which compensates for their overlap; in
            data2vec 2.0 0.07, and 0.1 for large and huge. The defaults give 5 blocks on 14 × 14 patches.
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
        """Compares the blocks with the grids of the samples."""
        for layout in preflight.layouts:
            height, width = self.grid(layout)
            kept, blocks = self.kept(layout), self._blocks(layout)
            said = f"{blocks} blocks of {self.block} × {self.block} in {height} × {width} patches, of which {kept} stay"
            if blocks == 0:
                yield Finding.warning(
                    f"{said} visible: single patches instead of blocks",
                    where="block",
                    hint=f"block={max(1, math.isqrt(kept))}, or smaller patches",
                )
            else:
                yield Finding.fine(f"{said} visible", where="block")

    @property
    def masking(self) -> Masking:
        return Masking.of("drop", masks=self.masks)

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        height, width = self.grid(layout)
        if self.block > min(height, width):
            raise SpecError(
                f"InverseBlockMasker.block must be at most the grid's shorter side, {min(height, width)}, "
                f"got {self.block}",
                where="block",
                hint=f"use smaller blocks or smaller patches: an image has {height} × {width} patches",
            )
        kept, positions, blocks = self.kept(layout), layout.positions, self._blocks(layout)
        centres = torch.randint(positions, (self.masks, blocks), generator=generator)  # (M, C), with replacement
        reach = torch.arange(self.block) - self.block // 2
        rows = (centres[..., None] // width + reach).clamp(0, height - 1)  # (M, C, block)
        columns = (centres[..., None] % width + reach).clamp(0, width - 1)  # (M, C, block)
        cells = rows[..., :, None] * width + columns[..., None, :]  # (M, C, block, block)
        in_block = torch.zeros(self.masks, positions).scatter_(1, cells.flatten(1), 1.0)  # (M, T)
        # the integer part puts patches of blocks first, and the random part orders the patches within each group
        order = in_block + torch.rand(self.masks, positions, generator=generator)
        return Mask.drop(all_but_highest(order, kept))

    def _blocks(self, layout: Layout) -> int:
        """The number of blocks of each mask."""
        return int(layout.positions * (1 - self.ratio + self.adjust) / self.block**2 + 1e-6)


@attrs.frozen(kw_only=True)
class BlockMasker(RatioMasker):
    """Hides rectangular blocks of patches, one after another, until enough patches are hidden.

    Bao et al. 2022, BEiT, algorithm 1, as released. The area and aspect of each block are random. A block has ten
    attempts to cover new patches without exceeding the ratio. The first block that fails all attempts ends the mask.
    The number of hidden patches is therefore at most that of the ratio, and differs between masks: for 120 of 14 × 14
    patches it is 119.5 on average, and exactly 120 in 70 % of masks.

    Attributes:
        ratio: largest share of hidden patches; 120 of 196 in data2vec, 75 of 196 in BEiT.
        masks: M, the number of masks of each image; 1 in data2vec 1.
        min_area: smallest number of patches in a block, as long as that many remain to be hidden; 16 in BEiT.
        min_aspect: smallest ratio of a block's height to its width, which is log-uniform up to the inverse of this;
            0.3 in BEiT.
    """

    ratio: float = 120 / 196
    min_area: int = 16
    min_aspect: float = 0.3

    def validate(self) -> None:
        super().validate()
        self.require(self.min_area >= 1, "min_area", "at least 1")
        self.require(0 < self.min_aspect <= 1, "min_aspect", "above 0 and at most 1")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Compares the blocks with the grids of the samples."""
        for layout in preflight.layouts:
            height, width = self.grid(layout)
            hidden = layout.positions - self.kept(layout)
            said = f"{hidden} of {height} × {width} patches are hidden by blocks of {self.min_area} or more"
            if 2 * self.min_area > hidden:
                yield Finding.warning(
                    f"{said}: a single block",
                    where="min_area",
                    hint=f"min_area={max(1, hidden // 6)}, or smaller patches",
                )
            else:
                yield Finding.fine(said, where="min_area")

    @property
    def masking(self) -> Masking:
        return Masking.of("hide", masks=self.masks)

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        shape = self.grid(layout)
        count = layout.positions - self.kept(layout)
        draws = _uniforms(generator)
        hidden = np.stack([self._mask(shape, count, draws) for _ in range(self.masks)])  # (M, H, W)
        return Mask.hide(torch.from_numpy(hidden).flatten(1))  # (M, H, W) -> (M, T)

    def _mask(self, shape: tuple[int, int], count: int, draws: Iterator[list[float]]) -> np.ndarray:
        """Draws one mask (H, W) bool with at least one and at most ``count`` hidden patches."""
        hidden = np.zeros(shape, dtype=bool)
        left = count
        while left > 0:
            # BEiT gives the first block ten attempts as well, so that a mask can be empty
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
                hint="lower min_area, or use smaller patches",
            )
        return hidden

    def _try_block(self, hidden: np.ndarray, left: int, draw: list[float]) -> int:
        """Hides a block in ``hidden`` (H, W) if it covers 1 to ``left`` new patches, and returns their number or 0."""
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


@attrs.frozen(kw_only=True)
class MultiBlockMasker(Masker):
    """Predicts several blocks of patches from one context, from which the blocks are removed.

    Assran et al. 2023, I-JEPA, section 3. The context is a large block without the patches of the target blocks. The
    student sees only the context. Patches outside the context block and the target blocks are neither seen nor
    predicted.

    Attributes:
        blocks: M, the number of target blocks of each image; 4 in I-JEPA.
        block_scale: smallest and largest share of the image that a target block covers; all blocks of an image have
            the same size.
        block_aspect: smallest and largest ratio of a target block's height to its width.
        context_scale: smallest and largest share of the image that the square context block covers.
        min_context: smallest number of patches in a context; blocks are drawn again until this many remain.
        equalize_counts: whether all samples of a batch keep as many context patches as the sample with the fewest, as
            in the released code, which removes the last ones; here random ones are removed. It saves time and makes
            masks depend on how a batch is split. Otherwise shorter contexts are padded, and no position attends to
            the padding.
    """

    blocks: int = 4
    block_scale: tuple[float, float] = (0.15, 0.2)
    block_aspect: tuple[float, float] = (0.75, 1.5)
    context_scale: tuple[float, float] = (0.85, 1.0)
    min_context: int = 10
    equalize_counts: bool = False

    def validate(self) -> None:
        self.require(self.blocks >= 1, "blocks", "at least 1")
        self.require(self.min_context >= 1, "min_context", "at least 1")
        for field in ("block_scale", "context_scale"):
            low, high = getattr(self, field)
            self.require(0 < low <= high <= 1, field, "two shares above 0 and at most 1, the smaller one first")
        low, high = self.block_aspect
        self.require(0 < low <= high, "block_aspect", "two ratios above 0, the smaller one first")

    @property
    def masking(self) -> Masking:
        return Masking.of("drop", masks=self.blocks, contexts=1)

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        if len(layout.shape) != 2:
            raise SpecError(
                f"MultiBlockMasker masks blocks of a grid, but the layout of the samples is {layout.shape}",
                hint="use an encoder whose positions form a grid, such as didact_vision.Patches",
            )
        for _ in range(ATTEMPTS):
            block = _size(layout, self.block_scale, self.block_aspect, generator)
            predicted = torch.stack([_place(layout, block, generator) for _ in range(self.blocks)])  # (M, T)
            context = _place(layout, _size(layout, self.context_scale, (1.0, 1.0), generator), generator)  # (T,)
            seen = context & ~predicted.any(0)
            if int(seen.sum()) >= self.min_context:
                dropped = (~seen).to(torch.uint8) * int(Corruption.DROP)
                return Mask(predicted=predicted, corruption=dropped[None])
        raise SpecError(
            f"MultiBlockMasker leaves fewer than {self.min_context} of {layout.positions} patches as the context, in "
            f"{ATTEMPTS} draws",
            where="min_context",
            hint="use fewer or smaller blocks, a smaller min_context, or smaller patches",
        )

    def equalize(self, masks: tuple[Mask, ...], *, generator: torch.Generator) -> tuple[Mask, ...]:
        if not self.equalize_counts:
            return masks
        fewest = min(int((mask.corruption == Corruption.NONE).sum()) for mask in masks)
        return tuple(_keep(mask, fewest, generator) for mask in masks)


def all_but_highest(order: torch.Tensor, count: int) -> torch.Tensor:
    """Marks all values except the ``count`` highest of each row.

    Args:
        order: (M, T) floats.
        count: number of values in each row that are not marked.

    Returns:
        (M, T) bool.
    """
    highest = order.topk(count, dim=1, sorted=False).indices  # (M, count)
    return torch.ones_like(order, dtype=torch.bool).scatter_(1, highest, False)


def _uniforms(generator: torch.Generator) -> Iterator[list[float]]:
    """Yields rows of four numbers in [0, 1), drawn 64 rows at a time: single draws would cost more than the blocks."""
    while True:
        yield from torch.rand(64, 4, generator=generator, dtype=torch.float64).tolist()


def _size(
    layout: Layout, scale: tuple[float, float], aspect: tuple[float, float], generator: torch.Generator
) -> tuple[int, int]:
    """Draws the height and the width of a block, in patches."""
    draws = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    area = layout.positions * (scale[0] + draws[0] * (scale[1] - scale[0]))
    ratio = aspect[0] + draws[1] * (aspect[1] - aspect[0])
    height, width = layout.shape
    return (
        min(max(1, round(math.sqrt(area * ratio))), height),
        min(max(1, round(math.sqrt(area / ratio))), width),
    )


def _place(layout: Layout, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Places a block at random; (T,) bool, true = in the block."""
    (height, width), (h, w) = layout.shape, size
    top = int(torch.randint(height - h + 1, (), generator=generator))
    left = int(torch.randint(width - w + 1, (), generator=generator))
    block = torch.zeros(height, width, dtype=torch.bool)
    block[top : top + h, left : left + w] = True
    return block.flatten()


def _keep(mask: Mask, count: int, generator: torch.Generator) -> Mask:
    """Keeps ``count`` random patches of a mask's context and drops the others."""
    seen = mask.corruption == Corruption.NONE  # (1, T)
    if int(seen.sum()) == count:
        return mask
    order = torch.rand(seen.shape, generator=generator) + seen  # patches of the context are at least 1
    dropped = all_but_highest(order, count).to(torch.uint8) * int(Corruption.DROP)
    return attrs.evolve(mask, corruption=dropped)
