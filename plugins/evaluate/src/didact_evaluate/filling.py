"""Reconstruction of hidden positions from the positions of other samples with the nearest targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor

from didact import Batch, RunState
from didact_evaluate.mosaic import cell, paste
from didact_evaluate.shown import Shown


@attrs.frozen(kw_only=True)
class Filling:
    """The origin of the content that fills a predicted position.

    Attributes:
        position: the predicted position.
        sample: index in the batch of the sample that the content comes from.
        place: the position in that sample whose target is nearest to the prediction.
    """

    position: int
    sample: int
    place: int


Found = Mapping[int, list[Filling]]  # by sample of the batch


def fillings(state: RunState, batch: Batch, count: int) -> Found | None:
    """Finds the fillings of the positions that the first mask of each of the first ``count`` samples predicts.

    The nearest target is the one with the smallest squared distance. Returns None if the method does not predict
    continuous targets of single positions.
    """
    view = batch.views[0]
    if view.mask is None:
        return None
    _, targets = state.targets(batch)
    predictions = state.predict(batch).predictions
    fitting = [t for t in targets if t.view == 0 and t.level == "position" and t.values.is_floating_point()]
    if predictions is None or len(fitting) != 1 or len(predictions) != view.mask.count or len(batch.ids) < 2:
        return None
    candidates = fitting[0].values.float().flatten(0, 1)  # (B, T, D) -> (B·T, D)
    t, m = view.layout.positions, view.mask.masks
    owner = torch.arange(len(candidates), device=candidates.device) // t  # (B·T,)
    unusable = (
        torch.zeros_like(owner, dtype=torch.bool) if view.padding is None else view.padding.flatten().to(owner.device)
    )
    found = {}
    for index in range(count):
        rows = (view.mask.mask_indices // t == index * m).nonzero().flatten()  # of the first mask
        distance = torch.cdist(predictions[rows.to(predictions.device)].float(), candidates)  # (n, B·T)
        nearest = distance.masked_fill(unusable | (owner == index), torch.inf).argmin(1).tolist()
        positions = (view.mask.mask_indices[rows] % t).tolist()
        found[index] = [
            Filling(position=position, sample=place // t, place=place % t)
            for position, place in zip(positions, nearest, strict=True)
        ]
    return found


def filled(shown: Sequence[Shown], index: int, found: list[Filling]) -> Tensor:
    """Fills the predicted positions in the image of sample ``index`` from other samples: (H, W, 3) uint8."""
    own = shown[index]
    assert own.picture is not None
    drawn = own.picture.clone()
    for filling in found:
        other = shown[filling.sample]
        assert other.picture is not None
        patch = other.picture[cell(other.layout, filling.place, other.picture)]
        paste(drawn, cell(own.layout, filling.position, own.picture), patch)
    return drawn
