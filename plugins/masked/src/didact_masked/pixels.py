"""MAE's target features: the values of each patch."""

from __future__ import annotations

import operator

import attrs
import torch
from torch import Tensor

from didact import Network, SpecError, View
from didact_masked.target_features import TargetFeature, TargetFeatureModule


@attrs.frozen(kw_only=True)
class PatchPixels(TargetFeature):
    """The values of the patch at each position, as MAE predicts them.

    It supports images and all other arrays (C, *axes) that the layout's positions divide evenly along each axis.

    Attributes:
        normalize: whether the values of each patch are normalised to mean 0 and variance 1, which improves the
            representations (He et al. 2022, table 1d).
        epsilon: added to the variance; 1e-6 as released.
    """

    normalize: bool = True
    epsilon: float = 1e-6

    def validate(self) -> None:
        self.require(self.epsilon > 0, "epsilon", "above 0")

    def build(self, network: Network) -> PatchPixelsModule:
        axes = [axis for axis in network.signal.axes if axis is not None]
        layout = network.layout.shape if network.layout is not None else ()
        sides = axes[1:]
        if not layout or len(sides) != len(layout) or any(map(operator.mod, sides, layout)):
            raise SpecError(
                f"PatchPixels needs samples of one size, (channels, …), that the encoder cuts into equal pieces; the "
                f"source's have the axes {network.signal.axes}, and the layout is {layout or 'not always the same'}",
                hint="use a source of images of one size and patches that divide it, or another target feature",
            )
        width = axes[0]
        for side, parts in zip(sides, layout, strict=True):
            width *= side // parts
        if width == 1 and self.normalize:
            raise SpecError(
                "each position holds one value, which has no variance to normalise by",
                where="normalize",
                hint="False, or an encoder with larger patches",
            )
        return PatchPixelsModule(self, width)


class PatchPixelsModule(TargetFeatureModule):
    """No weights."""

    def __init__(self, spec: PatchPixels, width: int) -> None:
        super().__init__()
        self.spec, self.width = spec, width

    def forward(self, view: View) -> Tensor:
        """Cuts content (B, C, H·p, W·p) into patches (B, T, p·p·C), row by row with channels last, as in MAE."""
        content, layout = view.content.float(), view.layout.shape
        samples, channels, *sides = content.shape
        cut = [size for parts, side in zip(layout, sides, strict=True) for size in (parts, side // parts)]
        axes = range(2, 2 + len(cut))
        order = (0, *axes[::2], *axes[1::2], 1)  # (B, C, H, p, W, p) -> (B, H, W, p, p, C)
        values = content.reshape(samples, channels, *cut).permute(order).reshape(samples, -1, self.width)  # (B, T, F)
        if not self.spec.normalize:
            return values
        variance, mean = torch.var_mean(values, -1, keepdim=True)  # unbiased (F - 1), as released
        return (values - mean) / (variance + self.spec.epsilon).sqrt()
