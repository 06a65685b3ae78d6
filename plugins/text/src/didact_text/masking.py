"""Masks over tokens: BERT's single tokens, and spans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs
import numpy as np
import torch

from didact import Corruption, Layout, Mask, Masker, Masking, SpecError
from didact.preflight import Finding, Preflight

FEWEST_TOKENS = 2  # chosen in a sample of median length; fewer cause a warning
FEWEST_SPANS = 2  # likewise


@attrs.frozen(kw_only=True)
class TokenMasker(Masker):
    """Chooses single tokens and hides most of them; others are replaced or kept (Devlin et al. 2019; data2vec §4.3).

    Of T tokens, ``probability · T`` are chosen, rounded up or down at random so that the mean is exact; at least one,
    and never all. Special tokens can be chosen as well, as in fairseq.

    Attributes:
        probability: share of the tokens that are chosen; 0.15 in BERT, RoBERTa and data2vec.
        random: share of the chosen tokens that are replaced by a random token; 0.1.
        keep: share of the chosen tokens that are not changed; 0.1.
        predict: the chosen tokens that the student must predict: ``all`` of them, as in BERT, or only the ``hidden``
            ones, as in the released data2vec code (fairseq issue #4229).
    """

    probability: float = 0.15
    random: float = 0.1
    keep: float = 0.1
    predict: Literal["all", "hidden"] = "all"

    def validate(self) -> None:
        self.require(0 < self.probability < 1, "probability", "above 0 and below 1")
        self.require(0 <= self.random <= 1, "random", "between 0 and 1")
        self.require(0 <= self.keep < 1, "keep", "at least 0 and below 1: a student that sees all learns nothing")
        self.require(self.random + self.keep <= 1, "keep", f"at most 1 - random, {1 - self.random:g}")
        if self.predict == "hidden":
            self.require(self.random + self.keep < 1, "keep", "below 1 - random where only hidden tokens are predicted")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Reports whether the samples are long enough to choose tokens from."""
        median = float(np.median(preflight.positions))
        chosen = self.probability * median
        said = f"{chosen:.3g} tokens of the median sample's {median:.0f} are chosen"
        if chosen < FEWEST_TOKENS:
            hint = f"longer samples, or probability={min(0.5, FEWEST_TOKENS / median):.2g}"
            yield Finding.warning(f"only {said}", where="probability", hint=hint)
        else:
            yield Finding.fine(said, where="probability")

    @property
    def masking(self) -> Masking:
        return Masking.of("hide", "replace")

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        positions = _positions(layout)
        count = min(_count(self.probability * positions, generator), positions - 1)
        chosen = torch.randperm(positions, generator=generator)[:count]
        lot = torch.rand(count, generator=generator)
        fates = torch.full((count,), int(Corruption.HIDE), dtype=torch.uint8)
        fates[lot < self.random + self.keep] = int(Corruption.NONE)
        fates[lot < self.random] = int(Corruption.REPLACE)
        if self.predict == "hidden" and not (fates == int(Corruption.HIDE)).any():
            fates[0] = int(Corruption.HIDE)  # in a short sample, nothing might be left to predict
        corruption = torch.zeros(1, positions, dtype=torch.uint8)
        corruption[0, chosen] = fates
        if self.predict == "hidden":
            predicted = corruption == int(Corruption.HIDE)
        else:
            predicted = torch.zeros(1, positions, dtype=torch.bool)
            predicted[0, chosen] = True
        replacement = torch.randint(1 << 62, (1, positions), generator=generator) if self.random else None
        return Mask(predicted=predicted, corruption=corruption, replacement=replacement)


@attrs.frozen(kw_only=True)
class TokenSpanMasker(Masker):
    """Hides spans of tokens, as in the released data2vec model of text and in its "wav2vec 2.0 masking" (§4.3).

    Of T tokens, ``probability · T / length``, rounded up or down at random and at least one, begin a span. They are
    drawn without replacement from the whole sample. Spans may overlap and are cut at the end, so the share of hidden
    tokens is smaller than ``probability``: 30.6 % of 512 tokens with 0.35 and 4. At least one token stays visible.

    Attributes:
        probability: share of the tokens that the spans would cover if they did not overlap; 0.35 in the released model.
            fairseq calls it ``mask_prob``.
        length: tokens in a span; 4 in the released model.
    """

    probability: float = 0.35
    length: int = 4

    def validate(self) -> None:
        self.require(self.length >= 1, "length", "at least 1")
        highest = 1.0 if self.length > 1 else 0.999
        self.require(0 < self.probability <= highest, "probability", "above 0 and at most 1 (below 1 for length 1)")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Compares the spans with the lengths of the samples."""
        median = float(np.median(preflight.positions))
        spans = self.probability * median / self.length
        said = f"{spans:.3g} spans of {self.length} in the median sample of {median:.0f} tokens"
        if spans < FEWEST_SPANS:
            fitting = max(1, int(self.probability * median / (2 * FEWEST_SPANS)))
            yield Finding.warning(f"only {said}", where="length", hint=f"length={fitting}, or longer samples")
        else:
            yield Finding.fine(said, where="length")

    @property
    def masking(self) -> Masking:
        return Masking.of("hide")

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        positions = _positions(layout)
        count = min(_count(self.probability * positions / self.length, generator), positions)
        order = torch.randperm(positions, generator=generator)
        covered = (order[:count, None] + torch.arange(self.length)).flatten()  # (spans, length) -> (spans·length,)
        predicted = torch.zeros(1, positions, dtype=torch.bool)
        predicted[0, covered[covered < positions]] = True
        if predicted.all():
            predicted[0, order[-1]] = False  # in a sample only slightly longer than a span
        return Mask.hide(predicted)


def _positions(layout: Layout) -> int:
    if layout.positions < 2:
        raise SpecError(
            f"a sample of {layout.positions} token cannot be masked: a mask would hide everything or nothing",
            hint="exclude such short samples, or train without a masker",
        )
    return layout.positions


def _count(mean: float, generator: torch.Generator) -> int:
    """A random whole number, at least 1, whose mean is ``mean``."""
    return max(1, int(mean + float(torch.rand((), generator=generator))))
