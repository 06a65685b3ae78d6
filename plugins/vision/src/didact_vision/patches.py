"""The patch encoder of vision Transformers, which maps an image to a grid of vectors."""

from __future__ import annotations

from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact import BatchMask, Corruption, FeatureEncoder, FeatureEncoderModule, Layout, Signal, SpecError, Tokens, View
from didact.placing import corrupt, drop, prepend, repeat
from didact_transformer.sincos import sincos_positions
from didact_vision.positions import resize_positions


@attrs.frozen(kw_only=True)
class Patches(FeatureEncoder):
    """Cuts an image into square patches and maps each linearly to a vector.

    Dosovitskiy et al. 2021, An Image Is Worth 16x16 Words; the projection is timm's `PatchEmbed`. The defaults are
    those of data2vec 2.0. data2vec 1 follows BEiT: ``positions="none"`` (its backbone has a relative position bias),
    ``mask_token=True`` and ``initialization="beit"``.

    Attributes:
        width: D, the size of each patch's vector; 768 for base, 1024 for large, 1280 for huge.
        patch: side of a patch in pixels; 16, and 14 for huge. The cost of attention is proportional to patch⁻⁴.
        positions: the position codes. ``sincos``: fixed sines and cosines of row and column (MAE, data2vec 2.0).
            ``learned``: a learned vector for each position. ``none``: no codes, for a backbone with relative positions
            (BEiT, data2vec 1).
        class_token: whether a learned vector precedes the patches.
        mask_token: whether there is a learned vector for hidden patches. Maskers that hide need it; maskers that drop
            do not use it.
        initialization: how weights are drawn. ``data2vec2``: the projection is Xavier-uniform as one matrix, the class
            token N(0, 1), the other tokens N(0, 0.02²) (data2vec 2.0). ``beit``: all weights are N(0, 0.02²), truncated
            at one standard deviation, and biases are 0 (BEiT, data2vec 1).
    """

    width: int = 768
    patch: int = 16
    positions: Literal["none", "learned", "sincos"] = "sincos"
    class_token: bool = True
    mask_token: bool = False
    initialization: Literal["beit", "data2vec2"] = "data2vec2"

    def validate(self) -> None:
        self.require(self.width >= 1, "width", "at least 1")
        self.require(self.patch >= 1, "patch", "at least 1")
        if self.positions == "sincos":
            self.require(self.width % 4 == 0, "width", "a multiple of 4, for sines and cosines of row and column")

    @property
    def corruptions(self) -> frozenset[Corruption]:
        return frozenset(Corruption) if self.mask_token else frozenset(Corruption) - {Corruption.HIDE}

    def layout(self, size: tuple[int, ...]) -> Layout:
        if len(size) != 3:
            raise SpecError(
                f"Patches reads images (channels, height, width), got content of shape {size}",
                hint="use a source of images, such as didact_vision.Images",
            )
        _, height, width = size
        if height % self.patch or width % self.patch or not height * width:
            raise SpecError(
                f"an image of {height} × {width} pixels cannot be cut into patches of {self.patch} × {self.patch}",
                where="patch",
                hint="choose a patch that divides the image's sides, or change the source's size",
            )
        return Layout((height // self.patch, width // self.patch))

    def build(self, signal: Signal) -> PatchesModule:
        channels = signal.axes[0] if signal.kind == "image" and len(signal.axes) == 3 else None
        if channels is None:
            raise SpecError(
                f"Patches reads images, but the source gives {signal.kind!r} with the axes {signal.axes}",
                hint="use a source of images, such as didact_vision.Images, or an encoder for this signal",
            )
        sizes = [axis for axis in signal.axes if axis is not None]
        layout = self.layout(tuple(sizes)) if len(sizes) == 3 else None
        if layout is None and self.positions == "learned":
            raise SpecError(
                "learned positions need images of one size, but the images of the source have several",
                where="positions",
                hint='use positions="sincos", or a source of images of one size',
            )
        return PatchesModule(self, channels, layout)


class PatchesModule(FeatureEncoderModule):
    """The weights of `Patches`: the projection, the positions, and the learned tokens.

    Attributes:
        projection: timm's `PatchEmbed`.
        positions: (T, D) or None; added to the patches.
        class_token: (D,) or None; precedes the patches.
        mask_token: (D,) or None; replaces hidden patches.
    """

    positions: Tensor | None
    position_parts = ("positions", "class_token")

    def __init__(self, spec: Patches, channels: int, layout: Layout | None) -> None:
        # imported here, since it takes seconds and a loader's worker never builds a module
        from timm.layers.patch_embed import PatchEmbed

        super().__init__()
        self.spec, self.built_for = spec, layout
        self.projection = PatchEmbed(img_size=None, patch_size=spec.patch, in_chans=channels, embed_dim=spec.width)
        self.class_token = nn.Parameter(torch.empty(spec.width)) if spec.class_token else None
        self.mask_token = nn.Parameter(torch.empty(spec.width)) if spec.mask_token else None
        if spec.positions == "learned" and layout is not None:
            self.positions = nn.Parameter(torch.empty(layout.positions, spec.width))
        else:
            fixed = sincos_positions(layout, spec.width) if spec.positions == "sincos" and layout is not None else None
            self.register_buffer("positions", fixed, persistent=False)
        self._initialize()

    def no_weight_decay(self) -> set[str]:
        """The names of the parameters that are exempt from weight decay."""
        own = dict(self.named_parameters(recurse=False))
        return {name for name in ("positions", "class_token", "mask_token") if name in own}

    def embed(self, view: View) -> Tokens:
        """Projects the patches of a view.

        Args:
            view: content (B, C, H·patch, W·patch), normalised pixels.

        Returns:
            Tokens with features (B, T, D), T = H·W, row by row.
        """
        features = self.projection(view.content)  # (B, C, H·patch, W·patch) -> (B, T, D)
        return Tokens(features=features, layout=view.layout, padding=view.padding)

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        """Hides patches, adds positions, drops patches, and prepends the class token.

        Args:
            tokens: features (B, T, D).
            mask: M masks per sample, or None for all patches.

        Returns:
            Tokens with features (R, V + 1, D), or (R, V, D) without a class token.

        Raises:
            SpecError: the mask hides patches and there is no mask token.
        """
        if mask is not None and mask.visible is not None and mask.hidden is None and mask.replaced is None:
            tokens = take_visible(
                attrs.evolve(tokens, features=self._add_positions(tokens.features, tokens.layout)), mask
            )
        else:
            features = corrupt(
                tokens.features, mask, self._mask_token_for(mask, tokens.features), padding=tokens.padding
            )  # (R, T, D)
            features = self._add_positions(features, tokens.layout)
            tokens = drop(attrs.evolve(tokens, features=features, padding=repeat(tokens.padding, mask)), mask)
        return tokens if self.class_token is None else prepend(tokens, self.class_token[None])

    def _add_positions(self, features: Tensor, layout: Layout) -> Tensor:
        positions = self._positions(layout)
        # float32 even for bfloat16 patches: the codes of neighbours differ in few bits
        return features if positions is None else features + positions

    def _mask_token_for(self, mask: BatchMask | None, features: Tensor) -> Tensor:
        if self.mask_token is not None:
            return self.mask_token
        if mask is not None and mask.hidden is not None:
            raise SpecError(
                "the masker hides patches behind a mask token, but Patches has none",
                where="experiment.encoder.mask_token",
                hint="set mask_token=True, or use a masker that drops, such as InverseBlockMasker",
            )
        return features.new_empty(())  # not used, since nothing is hidden

    def _positions(self, layout: Layout) -> Tensor | None:
        """The positions (T, D) of a layout, which may differ from the layout at build."""
        if layout == self.built_for or self.spec.positions == "none":
            return self.positions
        if self.positions is not None and self.built_for is not None and self.spec.positions == "learned":
            return resize_positions(self.positions, self.built_for, layout)
        return sincos_positions(layout, self.spec.width).to(self.projection.proj.weight.device, non_blocking=True)

    @torch.no_grad()
    def _initialize(self) -> None:
        projection = self.projection.proj
        tokens = [value for value in (self.mask_token, self.class_token) if value is not None]
        if isinstance(self.positions, nn.Parameter):
            tokens.append(self.positions)
        for token in tokens:
            nn.init.trunc_normal_(token, std=0.02, a=-0.02, b=0.02)
        if self.spec.initialization == "beit":
            nn.init.trunc_normal_(projection.weight, std=0.02, a=-0.02, b=0.02)
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)
        else:
            nn.init.xavier_uniform_(projection.weight.flatten(1))  # a view: the filter as one matrix (D, C·patch²)
            if self.class_token is not None:
                nn.init.normal_(self.class_token)


def take_visible(tokens: Tokens, mask: BatchMask) -> Tokens:
    """`didact.placing.drop` for samples that are not repeated yet: each row gathers its visible positions.

    Repeating all patches for 16 masks and dropping four fifths of them takes 15 times as long, gradient included.

    Args:
        tokens: features (B, T, D) and padding (B, T) or None of all positions.
        mask: M masks per sample that only drop positions.

    Returns:
        Tokens with features (R, V, D), padding (R, V) or None, and positions (R, V).
    """
    assert mask.visible is not None
    samples, positions, _ = tokens.features.shape
    first = torch.arange(samples, device=mask.visible.device).repeat_interleave(mask.contexts) * positions  # (R,)
    places = mask.visible + first[:, None]  # (R, V), into (B·T)
    features = torch.nn.functional.embedding(places, tokens.features.flatten(0, 1))  # (B·T, D) -> (R, V, D)
    padding = mask.visible_padding
    if tokens.padding is not None:
        held = tokens.padding.flatten().take(places)  # (B·T,) -> (R, V)
        padding = held if padding is None else held | padding
    return attrs.evolve(tokens, features=features, padding=padding, positions=mask.visible)
