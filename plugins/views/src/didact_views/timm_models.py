"""Timm models with image features, as backbones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from didact import Backbone, BackboneModule, BackboneOutput, HiddenState, Layout, SpecError, Tokens
from didact_views.normalization import BatchNorm, synchronize

STAGES = re.compile(r"blocks|stages|layers|features|layer\d+")  # names of the repeated parts in timm's models


@attrs.frozen(kw_only=True)
class TimmModel(Backbone):
    """A timm model (Wightman 2019) for `Pixels`, randomly initialised and without its classifier.

    The output vectors belong to the grid of the model's last stage, which is usually coarser than the image. The model
    has no hidden states, so it cannot be used with targets that average blocks. Batch normalisation uses the statistics
    of the global batch.

    Attributes:
        name: name in ``timm.list_models()``, such as ``resnet50``, ``vit_small_patch16_224`` or ``convnext_tiny``.
        drop_path: probability that a row skips a residual branch in training (stochastic depth).
        normalizes_batches: whether the model has batch normalisation, as ResNets do, unlike Vision Transformers and
            ConvNeXts. Batch normalisation does not support gradient accumulation. With
            ``training.activation_checkpointing`` it runs twice per step, so the running averages that evaluations use
            are updated twice.
    """

    name: str = "resnet50"
    drop_path: float = 0.0
    normalizes_batches: bool = True

    def validate(self) -> None:
        self.require(0 <= self.drop_path < 1, "drop_path", "at least 0 and below 1")

    @property
    def supports_padding(self) -> bool:
        return False

    @property
    def supports_dropping(self) -> bool:
        return False

    @property
    def supports_accumulation(self) -> bool:
        return not self.normalizes_batches

    def build(self, width: int, layout: Layout | None) -> TimmModelModule:
        if layout is None or len(layout.shape) != 2:
            raise SpecError(
                f"TimmModel takes images of one size, but samples are laid out as {layout and layout.shape}",
                hint="use it behind didact_views.Pixels and a source of images of one size",
            )
        model = synchronize(_create(self.name, width, layout, self.drop_path))
        if self.normalizes_batches != any(isinstance(module, BatchNorm) for module in model.modules()):
            raise SpecError(
                f"{self.name} has {'no ' if self.normalizes_batches else ''}batch normalisation",
                where="normalizes_batches",
                hint=f"normalizes_batches={not self.normalizes_batches}",
            )
        _require_size(self.name, model, torch.zeros(1, width, *layout.shape))
        return TimmModelModule(self.name, model)


class TimmModelModule(BackboneModule):
    """The timm model.

    Attributes:
        model: the module that timm created.
    """

    features = frozenset()  # timm's models do not return those of their blocks

    def __init__(self, name: str, model: Any) -> None:
        super().__init__()
        self.name = name
        self.model = model
        model.forward = model.forward_features  # so that sharding, checkpointing and compiling apply to it
        self.width = int(model.num_features)

    def no_weight_decay(self) -> set[str]:
        """The names that timm's own optimizers exempt: all parameters of one dimension."""
        return {f"model.{name}" for name, parameter in self.model.named_parameters() if parameter.ndim <= 1}

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]  # a second reference would be a second name of each weight
        """The model's stages or blocks if they can be found by name; otherwise the whole model."""
        stages = [child for name, child in self.model.named_children() if STAGES.fullmatch(name)]
        repeated = [child for stage in stages if isinstance(stage, (nn.Sequential, nn.ModuleList)) for child in stage]
        return nn.ModuleList(repeated or [self.model])

    def forward(self, tokens: Tokens, hidden_states: Sequence[HiddenState] = ()) -> BackboneOutput:
        """Contextualises the pixels (R, H·W, C) of whole images: output (R, h·w, D).

        Raises:
            SpecError: pixels are padding or dropped, or hidden states are requested.
        """
        if tokens.padding is not None or tokens.positions is not None or tokens.num_prefix_tokens:
            raise SpecError(
                f"{self.name} takes whole images, without padding, dropped or extra positions",
                hint="use it behind didact_views.Pixels, without a masker or with one that hides",
            )
        if hidden_states:
            raise SpecError(
                f"{self.name} has no inner features, and the {hidden_states[0].feature} of its blocks is asked for",
                hint="use targets that do not average blocks, or a didact_transformer.Transformer",
            )
        rows, _, channels = tokens.features.shape
        height, width = tokens.layout.shape
        pixels = tokens.features.transpose(1, 2).reshape(rows, channels, height, width)  # (R, H·W, C) -> (R, C, H, W)
        return self._context(self.model(pixels))

    def _context(self, features: Tensor) -> BackboneOutput:
        """Converts timm's features, (R, N, D), (R, D, h, w) or (R, h, w, D), to vectors on a grid."""
        prefix = 0
        if features.ndim == 3:
            prefix = int(getattr(self.model, "num_prefix_tokens", 0))
            output, layout = features, Layout((features.shape[1] - prefix,))
        else:
            if features.shape[-1] != self.width:
                features = features.permute(0, 2, 3, 1)  # (R, D, h, w) -> (R, h, w, D)
            output, layout = features.flatten(1, 2), Layout(tuple(features.shape[1:3]))
        return BackboneOutput(output=output, tokens=Tokens(features=output, layout=layout, num_prefix_tokens=prefix))


def _require_size(name: str, model: Any, image: Tensor) -> None:
    """Raises a `SpecError` if a model cannot read images of the size of ``image`` (1, C, H, W)."""
    try:
        with torch.no_grad():
            model.eval().forward_features(image)
    except Exception as error:  # each model has its own requirements and errors
        raise SpecError(
            f"TimmModel(name={name!r}) cannot read images of {image.shape[2]} × {image.shape[3]}: {error}",
            where="name",
            hint="choose another model, or set the source's size to a multiple of the model's patch",
        ) from error
    model.train()


def _create(name: str, channels: int, layout: Layout, drop_path: float) -> Any:
    # imported here because it takes seconds, and the loader's workers never build a module
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise SpecError(
            f"timm has no model {name!r}", where="name", hint=f"{', '.join(near) or 'any'} of timm.list_models()"
        )
    options: dict[str, Any] = {"drop_path_rate": drop_path}  # passed even if 0: some models have another default
    configuration = timm.get_pretrained_cfg(name)
    if configuration is not None and configuration.fixed_input_size:  # Vision Transformers have position embeddings
        options |= {"img_size": layout.shape, "dynamic_img_size": True}
    while True:
        try:
            return timm.create_model(name, num_classes=0, in_chans=channels, **options)
        except TypeError as error:  # not every model has every option
            known = [option for option in ("dynamic_img_size", "drop_path_rate") if option in options]
            refused = next((option for option in known if f"'{option}'" in str(error)), None)
            if refused is None:
                raise
            if refused == "drop_path_rate" and drop_path > 0:
                raise SpecError(f"{name} has no drop path", where="drop_path", hint="drop_path=0") from None
            del options[refused]
