"""MAE's target features: the values themselves."""

from __future__ import annotations

import operator

import attrs
import torch
from torch import Tensor

from didact import Network, SpecError, View
from didact_masked.target_features import TargetFeature, TargetFeatureModule


@attrs.frozen(kw_only=True)
class PatchPixels(TargetFeature):
    """The values themselves of the piece of the sample that a position stands for, as MAE predicts them.

    Serves images and every other array (C, *axes) that the layout's positions divide evenly, axis by axis.

    Attributes:
        normalize: whether each piece's values get mean 0 and variance 1, which improves what is learned (He et al.
            2022, table 1d).
        epsilon: added to that variance; 1e-6 as released.
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
                "a position stands for one value, which has no variance to be normalised by",
                where="normalize",
                hint="False, or an encoder whose positions stand for more",
            )
        return PatchPixelsModule(self, width)


class PatchPixelsModule(TargetFeatureModule):
    """No weights."""

    def __init__(self, spec: PatchPixels, width: int) -> None:
        super().__init__()
        self.spec, self.width = spec, width

    def forward(self, view: View) -> Tensor:
        """Content (B, C, H·p, W·p) to (B, T, p·p·C), rows of a piece first, channels last, as MAE's."""
        content, layout = view.content.float(), view.layout.shape
        samples, channels, *sides = content.shape
        cut = [size for parts, side in zip(layout, sides, strict=True) for size in (parts, side // parts)]
        axes = range(2, 2 + len(cut))
        order = (0, *axes[::2], *axes[1::2], 1)  # (B, C, H, p, W, p) -> (B, H, W, p, p, C)
        values = content.reshape(samples, channels, *cut).permute(order).reshape(samples, -1, self.width)  # (B, T, F)
        if not self.spec.normalize:
            return values
        variance, mean = torch.var_mean(values, -1, keepdim=True)  # of F - 1, as released
        return (values - mean) / (variance + self.spec.epsilon).sqrt()
