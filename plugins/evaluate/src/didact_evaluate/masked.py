"""Masked inputs and their reconstructions, as sheets of images and as texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from didact import Batch, BatchMask
from didact_evaluate.filling import Found, filled
from didact_evaluate.marking import Fate, fates, marked, refilled
from didact_evaluate.mosaic import hide
from didact_evaluate.sheets import APART, flowed, headed
from didact_evaluate.shown import Shown

MARKS = "[[word]] is hidden, [[word → other]] is replaced, [[word =]] is unchanged but must be predicted."
FILLED = (
    "[[word → other]]: among all targets in other samples, the target of other is nearest to the prediction; "
    "[[word =]]: the target of the same word is nearest."
)


def inputs_sheet(batch: Batch, views: Sequence[Sequence[Shown]], samples: int, masks: int) -> Tensor:
    """Draws every view of the first samples and what its first masks leave visible: (H, W, 3) uint8."""
    rows = [
        one.row(_panels(one, view.mask, index, masks))
        for index in range(min(samples, len(batch.ids)))
        for view, one in zip(batch.views, [shown[index] for shown in views], strict=True)
    ]
    about = "The input of training for each sample."
    if any(view.mask is not None for view in batch.views):
        red = "" if views[0][0].is_grid else ", and red in the strips"
        about = f"The input of training for each sample, before and after masking. Grey{red}: hidden."
    return headed(flowed(rows, APART), about)


def reconstruction_sheet(batch: Batch, shown: Sequence[Shown], found: Found) -> Tensor:
    """Draws samples, what their first mask leaves visible, and the filled samples: (H, W, 3) uint8."""
    rows = []
    for index, fillings in found.items():
        one, mask = shown[index], batch.views[0].mask
        rows.append(one.row([*_panels(one, mask, index, 1)[:2], ("filled", filled(shown, index, fillings))]))
    about = (
        "Each position hidden by mask 1 is filled with the position of another sample whose target is nearest to the "
        "student's prediction."
    )
    return headed(flowed(rows, APART), about)


def inputs_text(shown: Sequence[Shown], mask: BatchMask | None, replacements: Tensor | None, masks: int) -> str:
    """Returns samples as text, with marks that show the effect of their masks.

    Args:
        shown: samples with words.
        mask: mask of the batch of the samples.
        replacements: (B, M, T) int64, the ids at replaced positions; None if they are unknown.
        masks: largest number of masks shown for each sample.
    """
    told = [MARKS] if mask is not None else []
    for index, one in enumerate(shown):
        told.append(one.title)
        words, held = one.words or (), one.layout.positions
        if mask is None:
            told.append("".join(words))
            continue
        for number in range(min(masks, mask.masks)):
            context = number // (mask.masks // mask.contexts)
            others = None if replacements is None else one.source.words(replacements[index, context, :held])
            about = f"mask {number + 1}: " if mask.masks > 1 else ""
            told.append(about + marked(words, fates(mask, index, number, held), others))
    return "\n\n".join(told)


def reconstruction_text(shown: Sequence[Shown], found: Found) -> str:
    """Returns samples as text, with the word whose target is nearest to each prediction."""
    told = [FILLED]
    for index, fillings in found.items():
        others = {filling.position: (shown[filling.sample].words or ())[filling.place] for filling in fillings}
        told += [shown[index].title, refilled(shown[index].words or (), others)]
    return "\n\n".join(told)


def _panels(shown: Shown, mask: BatchMask | None, index: int, masks: int) -> list[tuple[str, Tensor]]:
    """Returns panels of the sample and its first masks; for a sequence, each mask is also a strip of colours."""
    assert shown.picture is not None
    panels = [("", shown.picture)]
    if mask is None:
        return panels
    withheld = [_withheld(mask, index, number, shown.layout.positions) for number in range(min(masks, mask.masks))]
    for number, hidden in enumerate(withheld, 1):
        if shown.is_grid or number == 1:
            panels.append((f"mask {number}", hide(shown.picture, shown.layout, hidden)))
    if not shown.is_grid:
        panels += [(f"mask {number}", shown.bars(hidden)) for number, hidden in enumerate(withheld, 1)]
    return panels


def _withheld(mask: BatchMask, sample: int, number: int, held: int) -> Tensor:
    """Returns (T,) bool; true = the student does not see the content of the position, predicted or not."""
    return torch.tensor([fate in (Fate.HIDDEN, Fate.REPLACED) for fate in fates(mask, sample, number, held)])
