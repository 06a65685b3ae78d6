"""Masks of cells of a sample with any number of axes: spans of a sequence, blocks of an image."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import torch

from didact import Layout, Mask, Masker, Masking, SpecError
from didact.preflight import Finding, Preflight


@attrs.frozen(kw_only=True)
class RandomMasker(Masker):
    """Cuts a sample into equal cells and hides some of them.

    Neighbouring positions are similar in every modality, but on different scales. The size of a cell is a share of the
    sample, so one setting works for all modalities. Sixteen cells are 4 × 4 blocks of an image or sixteen spans of a
    sequence. The offset of the cells is drawn for each sample; a cell that exceeds the end wraps around to the start.

    Attributes:
        cells: approximate number of cells. Each of A axes has k cells, where k is the A-th root, rounded.
        ratio: share of the cells that are hidden; data2vec hides 0.6 of an image, 0.49 of speech, 0.15 of a text.
    """

    cells: int = 16
    ratio: float = 0.6

    def validate(self) -> None:
        self.require(self.cells >= 2, "cells", "at least 2")
        self.require(0 < self.ratio < 1, "ratio", "above 0 and below 1")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Reports the size of a cell."""
        for layout in preflight.layouts:
            along = self._along(layout)
            sizes = " × ".join(f"{size / count:.3g}" for size, count in zip(layout.shape, along, strict=True))
            yield Finding.fine(f"a cell holds {sizes} of {' × '.join(map(str, layout.shape))} positions", where="cells")

    @property
    def masking(self) -> Masking:
        return Masking.of("hide")

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        """Draws one mask over T positions: predicted (1, T)."""
        if layout.positions < 2:
            raise SpecError(
                "RandomMasker would hide all or nothing of a sample with one position",
                where="cells",
                hint="make the samples longer, or their patches smaller",
            )
        cell = torch.zeros(layout.shape, dtype=torch.int64)  # the cell of each position
        total = 1
        for axis, (size, count) in enumerate(zip(layout.shape, self._along(layout), strict=True)):
            start = torch.randint(size, (), generator=generator)
            along = (torch.arange(size) + start) % size * count // size  # (size,)
            cell = cell * count + along.view([-1 if other == axis else 1 for other in range(len(layout.shape))])
            total *= count
        hidden = min(max(1, round(self.ratio * total)), total - 1)
        chosen = torch.randperm(total, generator=generator) < hidden  # (total,)
        return Mask.hide(chosen[cell.flatten()][None])

    def _along(self, layout: Layout) -> list[int]:
        """Returns the number of cells along each axis; there are at least two cells in total."""
        wanted = max(1, round(self.cells ** (1 / len(layout.shape))))
        counts = [min(wanted, size) for size in layout.shape]
        if all(count == 1 for count in counts):
            counts[layout.shape.index(max(layout.shape))] = 2
        return counts
