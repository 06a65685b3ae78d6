"""Conversion of numbers to colours: a heat map, and principal components of features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CUT = 0.01  # share clipped at either end of a component; outliers would leave the rest in one colour

# inferno (van der Walt and Smith 2015, CC0), perceptually uniform, sampled at steps of 1/16
INFERNO = (
    (0, 0, 4), (11, 7, 36), (33, 12, 74), (61, 9, 101), (87, 16, 110), (113, 25, 110), (138, 34, 106), (163, 44, 97),
    (188, 55, 84), (210, 70, 68), (228, 90, 49), (241, 115, 29), (249, 142, 9), (252, 172, 17), (249, 203, 53),
    (242, 234, 105), (252, 255, 164),
)  # fmt: skip


def heat(values: Tensor) -> Tensor:
    """Maps values (…) from 0 (black) to 1 (nearly white) to perceptually uniform colours (…, 3) uint8."""
    way = values.float().clamp(0, 1) * (len(INFERNO) - 1)
    colours = torch.tensor(INFERNO, dtype=torch.float32)
    below = way.floor().clamp(max=len(INFERNO) - 2).long()
    mixed = torch.lerp(colours[below], colours[below + 1], (way - below)[..., None])
    return mixed.round().to(torch.uint8)


def principal_colours(features: Sequence[Tensor]) -> tuple[list[Tensor], float]:
    """Maps the first three principal components of features to red, green and blue.

    This follows DINOv2 (Oquab et al. 2023, figure 1). The components are computed over all positions of all samples, so
    a colour has the same meaning in every sample. Each component is scaled to 0…1 between its 1st and 99th percentile.
    Its arbitrary sign is chosen so that its largest weight is positive.

    Args:
        features: (T, D) float for each sample.

    Returns:
        (T, 3) uint8 for each sample, and the share of the variance that the three components explain. If the features
        have no variance, all colours are grey.
    """
    values = torch.cat([value.double().cpu() for value in features])  # (N, D)
    centred = values - values.mean(0)
    variance, directions = torch.linalg.eigh(centred.T @ centred)  # in order of ascending variance; (D,), (D, D)
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
