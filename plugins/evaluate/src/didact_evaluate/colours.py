"""Numbers as colours: shares as heat, features by their principal components."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CUT = 0.01  # of a component's values at either end: a few outliers would leave the rest in one colour

# inferno (van der Walt and Smith 2015, CC0), every sixteenth of its way: equal steps look equally large
INFERNO = (
    (0, 0, 4), (11, 7, 36), (33, 12, 74), (61, 9, 101), (87, 16, 110), (113, 25, 110), (138, 34, 106), (163, 44, 97),
    (188, 55, 84), (210, 70, 68), (228, 90, 49), (241, 115, 29), (249, 142, 9), (252, 172, 17), (249, 203, 53),
    (242, 234, 105), (252, 255, 164),
)  # fmt: skip


def heat(values: Tensor) -> Tensor:
    """Values (…) from 0, black, to 1, nearly white, as colours (…, 3) uint8 of equal steps to the eye."""
    way = values.float().clamp(0, 1) * (len(INFERNO) - 1)
    colours = torch.tensor(INFERNO, dtype=torch.float32)
    below = way.floor().clamp(max=len(INFERNO) - 2).long()
    mixed = torch.lerp(colours[below], colours[below + 1], (way - below)[..., None])
    return mixed.round().to(torch.uint8)


def principal_colours(features: Sequence[Tensor]) -> tuple[list[Tensor], float]:
    """The first three principal components of features as red, green and blue (DINOv2, Oquab et al. 2023, figure 1).

    The components are those of all positions of all samples together, so one colour means the same in each of them.
    Each is scaled to 0…1 between its 1st and 99th percentile. Its sign, which is arbitrary, makes the channel that
    weighs most weigh positively.

    Args:
        features: (T, D) float of each sample.

    Returns:
        (T, 3) uint8 of each sample, and the share of the variance that the three components have. Where the features
        have no variance, everything is grey.
    """
    values = torch.cat([value.double().cpu() for value in features])  # (N, D)
    centred = values - values.mean(0)
    variance, directions = torch.linalg.eigh(centred.T @ centred)  # of ascending variance; (D,), (D, D)
    chosen = directions[:, -3:].flip(1)  # (D, up to 3)
    chosen = chosen * chosen.gather(0, chosen.abs().argmax(0, keepdim=True)).sign()
    components = torch.nn.functional.pad(centred @ chosen, (0, 3 - chosen.shape[1]))  # (N, 3)
    low, high = (torch.quantile(components, share, dim=0) for share in (CUT, 1 - CUT))
    spread = high - low
    scaled = torch.where(spread > 1e-9, (components - low) / spread.clamp(min=1e-9), 0.5).clamp(0, 1)
    total = float(variance.sum())
    share = float(variance[-3:].sum()) / total if total > 0 else 0.0
    coloured = (scaled * 255).round().to(torch.uint8)
    return list(torch.split(coloured, [len(value) for value in features])), share
