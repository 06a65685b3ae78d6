"""Targets computed from the input: its ids, or a fixed feature of each position."""

from __future__ import annotations

import attrs
import torch

from didact import Batch, Network, SpecError, StudentPass, Target, TargetBuilder, TargetBuilderModule
from didact.errors import of_field
from didact_masked.pixels import PatchPixels
from didact_masked.target_features import TargetFeature, TargetFeatureModule


@attrs.frozen(kw_only=True)
class InputIds(TargetBuilder):
    """The ids of the input, as masked language models predict them (BERT, Devlin et al. 2019, section 3.1)."""

    def build(self, network: Network) -> InputIdsModule:
        vocabulary = network.signal.vocabulary
        if vocabulary is None:
            raise SpecError(
                f"InputIds needs samples that are ids, and the source gives {network.signal.kind}",
                hint="use a source of text; FeatureTargets and ClusterTargets are for numbers",
            )
        return InputIdsModule(vocabulary)


class InputIdsModule(TargetBuilderModule):
    """No weights; ``width`` is the vocabulary."""

    kind = "ids"

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.width = vocabulary

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """Returns one target for each view: its content, ids (B, T) int64.

        Raises:
            SpecError: the encoder combines several ids into one position.
        """
        for one in passes:
            ids, positions = tuple(one.view.content.shape[1:]), one.view.layout.positions
            if ids != (positions,):
                raise SpecError(
                    f"InputIds needs an id for each position, and a sample of {ids} ids has {positions} positions",
                    where="experiment.encoder",
                    hint="use an encoder that gives each id a position, such as didact_text.TokenEmbeddings",
                )
        return tuple(Target(view=index, values=one.view.content) for index, one in enumerate(passes))


@attrs.frozen(kw_only=True)
class FeatureTargets(TargetBuilder):
    """A fixed feature of each position, for regression.

    With `PatchPixels` the targets are those of MAE (He et al. 2022, section 3, reconstruction target). With
    `EarlierLayer` they are hidden states of a trained network, as in methods that distil a frozen teacher by masked
    prediction.

    Attributes:
        feature: the target feature.
    """

    feature: TargetFeature = PatchPixels()

    def build(self, network: Network) -> FeatureTargetsModule:
        with of_field("feature"):
            return FeatureTargetsModule(self.feature.build(network))


class FeatureTargetsModule(TargetBuilderModule):
    """The target feature."""

    def __init__(self, feature: TargetFeatureModule) -> None:
        super().__init__()
        self.feature = feature
        self.width = feature.width

    @torch.no_grad()
    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """Returns one target for each view: values (B, T, F) float32."""
        return tuple(Target(view=index, values=self.feature(one.view)) for index, one in enumerate(passes))
