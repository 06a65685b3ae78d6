"""Any timm model that gives features of an image, as a backbone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor, nn

from didact import Backbone, BackboneModule, BackboneOutput, HiddenState, Layout, SpecError, Tokens
from didact_views.normalization import BatchNorm, synchronize

STAGES = re.compile(r"blocks|stages|layers|features|layer\d+")  # where timm's models keep what repeats


@attrs.frozen(kw_only=True)
class TimmModel(Backbone):
    """A model of timm's (Wightman 2019) behind `Pixels`, at its random initialisation, without its classifier.

    Its vectors stand for the grid of its last stage, which is mostly coarser than the image. It gives no hidden
    states, so targets that average blocks refuse it. Batch normalisation goes over the whole global batch.

    Attributes:
        name: as ``timm.list_models()`` gives it: ``resnet50``, ``vit_small_patch16_224``, ``convnext_tiny``.
        drop_path: probability that a row skips a residual branch in training (stochastic depth).
        normalizes_batches: whether it has batch normalisation, as ResNets have and Vision Transformers and ConvNeXts
            have not. With it a batch cannot be computed in parts, and where ``training.activation_checkpointing``
            computes it again, its running averages, which evaluations use, move twice.
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
        return TimmModelModule(self.name, model)


class TimmModelModule(BackboneModule):
    """The model.

    Attributes:
        model: timm's.
    """

    def __init__(self, name: str, model: Any) -> None:
        super().__init__()
        self.name = name
        self.model = model
        model.forward = model.forward_features  # so that a call of it is what is sharded, computed anew or compiled
        self.width = int(model.num_features)

    def no_weight_decay(self) -> set[str]:
        """The names that timm's own optimizers exempt: parameters of one dimension; the model itself names others."""
        return {f"model.{name}" for name, parameter in self.model.named_parameters() if parameter.ndim <= 1}

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]  # a second reference would be a second name of each weight
        """Its stages or blocks, where it keeps them in one place; else the whole of it."""
        stages = [child for name, child in self.model.named_children() if STAGES.fullmatch(name)]
        repeated = [child for stage in stages if isinstance(stage, (nn.Sequential, nn.ModuleList)) for child in stage]
        return nn.ModuleList(repeated or [self.model])

    def forward(self, tokens: Tokens, hidden_states: Sequence[HiddenState] = ()) -> BackboneOutput:
        """Contextualises the pixels (R, H·W, C) of whole images: output (R, h·w, D).

        Raises:
            SpecError: pixels are padding or dropped, or inner features are asked for.
        """
        if tokens.padding is not None or tokens.positions is not None or tokens.num_prefix_tokens:
            raise SpecError(
                f"{self.name} takes whole images, without padding, dropped or extra positions",
                hint="use it behind didact_views.Pixels, without a masker or with one that hides",
            )
        if hidden_states:
            raise SpecError(
                f"{self.name} has no inner features, and the {hidden_states[0].feature} of its blocks is asked for",
                hint="average blocks of a didact_transformer.Transformer; judge a timm model by its output",
            )
        rows, _, channels = tokens.features.shape
        height, width = tokens.layout.shape
        pixels = tokens.features.transpose(1, 2).reshape(rows, channels, height, width)  # (R, H·W, C) -> (R, C, H, W)
        return self._context(self.model(pixels))

    def _context(self, features: Tensor) -> BackboneOutput:
        """Features as timm gives them, (R, N, D), (R, D, h, w) or (R, h, w, D), as vectors that stand for a grid."""
        prefix = 0
        if features.ndim == 3:
            prefix = int(getattr(self.model, "num_prefix_tokens", 0))
            output, layout = features, Layout((features.shape[1] - prefix,))
        else:
            if features.shape[-1] != self.width:
                features = features.permute(0, 2, 3, 1)  # (R, D, h, w) -> (R, h, w, D)
            output, layout = features.flatten(1, 2), Layout(tuple(features.shape[1:3]))
        return BackboneOutput(output=output, tokens=Tokens(features=output, layout=layout, num_prefix_tokens=prefix))


def _create(name: str, channels: int, layout: Layout, drop_path: float) -> Any:
    # Here and not above: it takes seconds, and a loader's worker, which never builds a module, need not wait.
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise SpecError(
            f"timm has no model {name!r}", where="name", hint=f"{', '.join(near) or 'any'} of timm.list_models()"
        )
    options: dict[str, Any] = {"drop_path_rate": drop_path}  # told also where it is 0, which is not every default
    configuration = timm.get_pretrained_cfg(name)
    if configuration is not None and configuration.fixed_input_size:  # Vision Transformers have a vector for each place
        options |= {"img_size": layout.shape, "dynamic_img_size": True}
    while True:
        try:
            return timm.create_model(name, num_classes=0, in_chans=channels, **options)
        except TypeError as error:  # not every model knows every option
            known = [option for option in ("dynamic_img_size", "drop_path_rate") if option in options]
            refused = next((option for option in known if f"'{option}'" in str(error)), None)
            if refused is None:
                raise
            if refused == "drop_path_rate" and drop_path > 0:
                raise SpecError(f"{name} has no drop path", where="drop_path", hint="drop_path=0") from None
            del options[refused]
