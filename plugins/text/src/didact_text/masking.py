"""Masks over tokens: BERT's, and spans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs
import torch

from didact import Corruption, Finding, Layout, Mask, Masker, Preflight, SpecError

FEWEST_TOKENS = 2  # that are chosen of a sample of median length
FEWEST_SPANS = 2  # likewise


@attrs.frozen(kw_only=True)
class TokenMasker(Masker):
    """Single tokens, most of them hidden, some replaced and some kept (BERT, Devlin et al. 2019; data2vec §4.3).

    Of T tokens, ``probability · T`` are chosen, rounded up or down at random so that the mean is exact; at least one,
    and never all. Special tokens are chosen like others, as in fairseq.

    Attributes:
        probability: share of the tokens that are chosen; 0.15 in BERT, RoBERTa and data2vec.
        random: share of the chosen ones that another token, drawn at random, stands for; 0.1.
        keep: share of the chosen ones that stay as they are; 0.1.
        predict: which of the chosen ones the student must predict: ``all`` of them, as in BERT, or only the ``hidden``
            ones, as the released data2vec code has it (fairseq issue #4229).
    """

    probability: float = 0.15
    random: float = 0.1
    keep: float = 0.1
    predict: Literal["all", "hidden"] = "all"

    def validate(self) -> None:
        self.require(0 < self.probability < 1, "probability", "above 0 and below 1, or it hides nothing or everything")
        self.require(0 <= self.random <= 1, "random", "between 0 and 1")
        self.require(0 <= self.keep < 1, "keep", "at least 0 and below 1: a student that sees all learns nothing")
        self.require(self.random + self.keep <= 1, "keep", f"at most 1 - random, {1 - self.random:g}")
        if self.predict == "hidden":
            self.require(self.random + self.keep < 1, "keep", "below 1 - random where only hidden tokens are predicted")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Whether samples are long enough to choose tokens of."""
        median = preflight.positions.median
        chosen = self.probability * median
        said = f"{chosen:.3g} tokens of the median sample's {median:.0f} are chosen"
        if chosen < FEWEST_TOKENS:
            mend = f"longer samples, or probability={min(0.5, FEWEST_TOKENS / median):.2g}"
            yield Finding.warning(f"only {said}", where="probability", mend=mend)
        else:
            yield Finding.fine(said, where="probability")

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        positions = _positions(layout)
        count = min(_count(self.probability * positions, generator), positions - 1)
        chosen = torch.randperm(positions, generator=generator)[:count]
        lot = torch.rand(count, generator=generator)
        fates = torch.full((count,), int(Corruption.HIDE), dtype=torch.uint8)
        fates[lot < self.random + self.keep] = int(Corruption.NONE)
        fates[lot < self.random] = int(Corruption.REPLACE)
        if self.predict == "hidden" and not (fates == int(Corruption.HIDE)).any():
            fates[0] = int(Corruption.HIDE)  # a short sample, of which nothing would be left to predict
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
    """Spans of tokens, all hidden: what data2vec was released with for text, and its "wav2vec 2.0 masking" (§4.3).

    Of T tokens, ``probability · T / length``, rounded up or down at random and at least one, begin a span; they are
    drawn without replacement from the whole sample. Spans may overlap and are cut at the end, so fewer tokens are
    hidden than ``probability`` says: 0.35 and 4 hide 30.6 % of 512. One token at least stays visible.

    Attributes:
        probability: share of the tokens that the spans would cover if they did not overlap; 0.35 as released. It is
            what fairseq calls ``mask_prob``.
        length: tokens of a span; 4 as released.
    """

    probability: float = 0.35
    length: int = 4

    def validate(self) -> None:
        self.require(self.length >= 1, "length", "at least 1")
        highest = 1.0 if self.length > 1 else 0.999
        self.require(0 < self.probability <= highest, "probability", "above 0 and at most 1 (below 1 for length 1)")

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """The spans against the samples there are."""
        median = preflight.positions.median
        spans = self.probability * median / self.length
        said = f"{spans:.3g} spans of {self.length} in the median sample of {median:.0f} tokens"
        if spans < FEWEST_SPANS:
            fitting = max(1, int(self.probability * median / (2 * FEWEST_SPANS)))
            yield Finding.warning(f"only {said}", where="length", mend=f"length={fitting}, or longer samples")
        else:
            yield Finding.fine(said, where="length")

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        positions = _positions(layout)
        count = min(_count(self.probability * positions / self.length, generator), positions)
        order = torch.randperm(positions, generator=generator)
        covered = (order[:count, None] + torch.arange(self.length)).flatten()  # (spans, length) -> (spans·length,)
        predicted = torch.zeros(1, positions, dtype=torch.bool)
        predicted[0, covered[covered < positions]] = True
        if predicted.all():
            predicted[0, order[-1]] = False  # a sample hardly longer than a span
        return Mask.hide(predicted)


def _positions(layout: Layout) -> int:
    if layout.positions < 2:
        raise SpecError(
            f"a sample of {layout.positions} token cannot be masked: that would hide everything or nothing",
            mend="leave out such short samples, or train without a masker",
        )
    return layout.positions


def _count(mean: float, generator: torch.Generator) -> int:
    """A whole number, at least 1, that is ``mean`` on average."""
    return max(1, int(mean + float(torch.rand((), generator=generator))))
