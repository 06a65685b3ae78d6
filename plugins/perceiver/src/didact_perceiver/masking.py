"""Masks of whole cells of a sample, whatever its axes: spans of a sequence, blocks of an image."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import torch

from didact import Layout, Mask, Masker, Masking, SpecError
from didact.preflight import Finding, Preflight


@attrs.frozen(kw_only=True)
class RandomMasker(Masker):
    """Cuts a sample into equal cells and hides some of them.

    Neighbouring positions resemble each other in every modality, on a scale that differs: a cell is a share of the
    sample, so that one setting serves all. Sixteen cells are 4 × 4 blocks of an image and sixteen spans of a sequence.
    Where they begin is drawn for each sample; a cell that reaches beyond the end continues at the beginning.

    Attributes:
        cells: about how many there are; k along each of A axes, k the root that comes nearest.
        ratio: share of the cells that are hidden; data2vec hides 0.6 of an image, 0.49 of speech, 0.15 of a text.
    """

    cells: int = 16
    ratio: float = 0.6

    def validate(self) -> None:
        self.require(self.cells >= 2, "cells", "at least 2")
        self.require(0 < self.ratio < 1, "ratio", "above 0 and below 1")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """How large a cell is."""
        for layout in preflight.layouts:
            along = self._along(layout)
            sizes = " × ".join(f"{size / count:.3g}" for size, count in zip(layout.shape, along, strict=True))
            yield Finding.fine(f"a cell holds {sizes} of {' × '.join(map(str, layout.shape))} positions", where="cells")

    @property
    def masking(self) -> Masking:
        return Masking.of("hide")

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        """One mask over T positions: predicted (1, T)."""
        if layout.positions < 2:
            raise SpecError(
                "RandomMasker would hide everything or nothing of a sample of one position",
                where="cells",
                hint="make the samples longer, or their patches smaller",
            )
        cell = torch.zeros(layout.shape, dtype=torch.int64)  # of each position
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
        """How many cells there are along each axis; two at least in all."""
        wanted = max(1, round(self.cells ** (1 / len(layout.shape))))
        counts = [min(wanted, size) for size in layout.shape]
        if all(count == 1 for count in counts):
            counts[layout.shape.index(max(layout.shape))] = 2
        return counts
