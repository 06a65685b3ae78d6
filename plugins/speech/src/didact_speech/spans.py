"""Span masks: runs of neighbouring positions, as in wav2vec 2.0 and data2vec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from didact import Layout, Mask, Masker, Masking, SpecError
from didact.preflight import Finding, Preflight

FEWEST_SPANS = 2  # in a sample of median length; fewer spans cause a warning


@attrs.frozen(kw_only=True)
class SpanMasker(Masker):
    """Spans of one length at random starts; they may overlap (data2vec §4.2, wav2vec 2.0 §3.1).

    Of T positions, ``probability · T / length``, rounded up or down at random, start a span. Starts are distinct and
    never the last position, as in the released code. Since spans overlap, the share of hidden positions is smaller than
    ``probability``: 0.49 with the defaults and 500 to 750 positions.

    Attributes:
        probability: share of positions that the spans would cover if they did not overlap; 0.65 in data2vec. The
            paper's p, the share of positions that start a span, is this divided by the length: 0.065.
        length: positions in a span; 10 in data2vec (200 ms).
        min_spans: smallest number of spans in a sample; 1 (fairseq's min_masks).
        equalize_counts: whether all samples of a batch hide the same number of positions. Random positions are unmasked
            until each sample hides as many as the sample with the fewest; a share of 0.45 to 0.46 stays hidden for 8 to
            12 samples. The released code does this to get a rectangular batch (fairseq's
            require_same_masks). The paper does not mention it, and didact does not need it. It makes masks depend on
            how a batch is split.
        mask_dropout: share of the hidden positions that are unmasked at random; 0.
        masks: M, the number of masks of each sample; 1, and 8 in data2vec 2.0, where one target pass serves all masks.
        corruption: ``hide`` replaces predicted positions by the mask embedding (data2vec), ``drop`` removes them from
            the student's sequence (data2vec 2.0).
    """

    probability: float = 0.65
    length: int = 10
    min_spans: int = 1
    equalize_counts: bool = False
    mask_dropout: float = 0.0
    masks: int = 1
    corruption: Literal["hide", "drop"] = "hide"

    def validate(self) -> None:
        self.require(0 <= self.probability <= 1, "probability", "between 0 and 1")
        self.require(self.length >= 1, "length", "at least 1")
        self.require(self.min_spans >= 1, "min_spans", "at least 1, since a mask must hide something")
        self.require(0 <= self.mask_dropout < 1, "mask_dropout", "from 0 up to but not 1")
        self.require(self.masks >= 1, "masks", "at least 1")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Compares the spans with the lengths of the samples."""
        shortest, median = int(preflight.positions.min()), float(np.median(preflight.positions))
        spans = self.probability * median / self.length
        said = f"{spans:.3g} spans of {self.length} in the median sample of {median:.0f} positions"
        if spans < FEWEST_SPANS and self.min_spans < FEWEST_SPANS:
            fitting = max(1, int(self.probability * median / (2 * FEWEST_SPANS)))
            yield Finding.warning(f"only {said}", where="length", hint=f"length={fitting}, or longer samples")
        else:
            yield Finding.fine(said, where="length")
        if 2 * self.length > shortest:
            yield Finding.warning(
                f"a span of {self.length} covers more than half of the shortest sample, {shortest} positions",
                where="length",
                hint=f"length={max(1, shortest // 4)}, or leave such short samples out of the source",
            )

    @property
    def masking(self) -> Masking:
        return Masking.of(self.corruption, masks=self.masks)

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        """Draws M masks over T positions: predicted (M, T)."""
        if len(layout.shape) != 1:
            raise SpecError(
                f"SpanMasker hides spans of a sequence, but the positions form a grid {layout.shape}",
                hint="use a masker of blocks, such as those of didact-vision",
            )
        return self._mask(torch.stack([self._spans(layout.positions, generator) for _ in range(self.masks)]))

    def equalize(self, masks: tuple[Mask, ...], *, generator: torch.Generator) -> tuple[Mask, ...]:
        if not self.equalize_counts:
            return masks
        fewest = min(int(row.sum()) for mask in masks for row in mask.predicted)
        return tuple(
            self._mask(torch.stack([_show(row, int(row.sum()) - fewest, generator) for row in mask.predicted]))
            for mask in masks
        )

    def _mask(self, predicted: Tensor) -> Mask:
        return Mask.drop(predicted) if self.corruption == "drop" else Mask.hide(predicted)

    def _spans(self, t: int, generator: torch.Generator) -> Tensor:
        """Draws one mask over ``t`` positions: (T,) bool."""
        rounding = float(torch.rand((), generator=generator))
        spans = max(self.min_spans, int(self.probability * t / self.length + rounding))
        # a sample that is too short for so many distinct starts gets one start more than there are spans
        starts = t - self.length if t - self.length > spans else spans + 1
        chosen = torch.randperm(starts, generator=generator)[:spans]  # (spans,)
        covered = chosen[:, None] + torch.arange(self.length)  # (spans, length)
        predicted = torch.zeros(max(t, starts + self.length), dtype=torch.bool)
        predicted[covered.flatten()] = True
        predicted = predicted[:t]
        if self.mask_dropout:
            predicted = _show(predicted, round(self.mask_dropout * int(predicted.sum())), generator)
        hidden = int(predicted.sum())
        if hidden in (0, t):
            raise SpecError(
                f"SpanMasker hides {'all' if hidden else 'none'} of a sample's {t} positions with "
                f"{spans} span{'s' if spans > 1 else ''} of {self.length}",
                where="length",
                hint="shorten the spans, lower the probability, or leave such short samples out of the source",
            )
        return predicted


def _show(predicted: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Removes ``count`` positions, drawn at random, from a mask (T,)."""
    hidden = predicted.nonzero()[:, 0]
    shown = predicted.clone()
    shown[hidden[torch.randperm(len(hidden), generator=generator)[:count]]] = False
    return shown
