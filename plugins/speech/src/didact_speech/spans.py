"""Span masks: stretches of neighbouring positions, as wav2vec 2.0 and data2vec hide them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs
import torch
from torch import Tensor

from didact import Finding, Layout, Mask, Masker, Preflight, SpecError

FEWEST_SPANS = 2  # of a sample of median length


@attrs.frozen(kw_only=True)
class SpanMasker(Masker):
    """Spans of one length at random starts; they may overlap (data2vec §4.2, wav2vec 2.0 §3.1).

    Of T positions, ``probability · T / length``, rounded up or down at random, start a span. Starts are distinct and
    leave the very last position out, as in the released code. Since spans overlap, fewer positions are hidden than
    ``probability``: at the defaults and 500 to 750 positions 0.49 of them.

    Attributes:
        probability: share of positions that the spans would cover if they did not overlap; data2vec uses 0.65. The
            paper's p, the share of positions that start a span, is this divided by the length: 0.065.
        length: positions that a span covers; data2vec uses 10, which are 200 ms.
        min_spans: fewest spans of a sample; 1 (fairseq's min_masks).
        equalize_counts: whether random positions of a micro-batch's other samples are shown again until all hide as
            many as the one that hides fewest, which leaves 0.45 to 0.46 with 8 to 12 samples. The released code does
            this for a rectangular batch (fairseq's require_same_masks), the paper does not mention it, and nothing here
            needs it; it makes masks depend on how a batch is split.
        mask_dropout: share of the hidden positions that are shown again, at random; 0.
        masks: M, how many masks each sample gets; 1, and 8 in data2vec 2.0, whose single target pass serves all.
        corruption: ``hide`` puts the mask embedding at what is to be predicted (data2vec), ``drop`` takes it out of the
            student's sequence (data2vec 2.0).
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
        self.require(self.min_spans >= 1, "min_spans", "at least 1, for a mask must hide something")
        self.require(0 <= self.mask_dropout < 1, "mask_dropout", "from 0 up to but not 1")
        self.require(self.masks >= 1, "masks", "at least 1")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """The spans against the samples there are."""
        shortest, median = preflight.positions.smallest, preflight.positions.median
        spans = self.probability * median / self.length
        said = f"{spans:.3g} spans of {self.length} in the median sample of {median:.0f} positions"
        if spans < FEWEST_SPANS and self.min_spans < FEWEST_SPANS:
            fitting = max(1, int(self.probability * median / (2 * FEWEST_SPANS)))
            yield Finding.warning(f"only {said}", where="length", mend=f"length={fitting}, or longer samples")
        else:
            yield Finding.fine(said, where="length")
        if 2 * self.length > shortest:
            yield Finding.warning(
                f"a span of {self.length} covers more than half of the shortest sample, {shortest:.0f} positions",
                where="length",
                mend=f"length={max(1, int(shortest // 4))}, or leave such short samples out of the source",
            )

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        """M masks over T positions: predicted (M, T)."""
        if len(layout.shape) != 1:
            raise SpecError(
                f"SpanMasker hides spans of a sequence, but positions lie in a grid {layout.shape}",
                mend="use a masker of blocks, such as those of didact-vision",
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
        """One mask over ``t`` positions: (T,) bool."""
        rounding = float(torch.rand((), generator=generator))
        spans = max(self.min_spans, int(self.probability * t / self.length + rounding))
        # a sample too short for so many distinct starts gets as many starts as there are spans, and one
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
                mend="shorten the spans, lower the probability, or leave such short samples out of the source",
            )
        return predicted


def _show(predicted: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The mask (T,) with ``count`` of its positions, drawn at random, no longer predicted."""
    hidden = predicted.nonzero()[:, 0]
    shown = predicted.clone()
    shown[hidden[torch.randperm(len(hidden), generator=generator)[:count]]] = False
    return shown
