"""Targets that are the input itself: its ids, or what a descriptor tells of it."""

from __future__ import annotations

import attrs
import torch

from didact import Network, SpecError, StudentPass, Target, TargetBuilder, TargetBuilderModule
from didact.errors import of_field
from didact_masked.descriptors import Descriptor, DescriptorModule
from didact_masked.pixels import PatchPixels


@attrs.frozen(kw_only=True)
class InputIds(TargetBuilder):
    """The ids that stand in the input: what masked language models predict (BERT, Devlin et al. 2019, section 3.1)."""

    def build(self, network: Network) -> InputIdsModule:
        vocabulary = network.signal.vocabulary
        if vocabulary is None:
            raise SpecError(
                f"InputIds needs samples that are ids, and the source gives {network.signal.kind}",
                mend="use a source of text, or DescriptorTargets or ClusterTargets for numbers",
            )
        return InputIdsModule(vocabulary)


class InputIdsModule(TargetBuilderModule):
    """No weights; ``width`` is the vocabulary."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.width = vocabulary

    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """One target for each view: its content, ids (B, T) int64.

        Raises:
            SpecError: the encoder gives several ids one position.
        """
        for one in passes:
            ids, positions = tuple(one.view.content.shape[1:]), one.view.layout.positions
            if ids != (positions,):
                raise SpecError(
                    f"InputIds needs an id for each position, and a sample of {ids} ids has {positions} positions",
                    where="experiment.encoder",
                    mend="use an encoder that gives each id a position, such as didact_text.TokenEmbeddings",
                )
        return tuple(Target(view=index, values=one.view.content) for index, one in enumerate(passes))


@attrs.frozen(kw_only=True)
class DescriptorTargets(TargetBuilder):
    """What a fixed description tells of each position, to be regressed.

    With `PatchPixels` the targets are MAE's (He et al. 2022, section 3, reconstruction target); with `EarlierLayer`
    they are a trained network's, as in methods that distil a frozen teacher through a mask.

    Attributes:
        descriptor: of a position.
    """

    descriptor: Descriptor = PatchPixels()

    def build(self, network: Network) -> DescriptorTargetsModule:
        with of_field("descriptor"):
            return DescriptorTargetsModule(self.descriptor.build(network))


class DescriptorTargetsModule(TargetBuilderModule):
    """The descriptor."""

    def __init__(self, descriptor: DescriptorModule) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.width = descriptor.width

    @torch.no_grad()
    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """One target for each view: values (B, T, F) float32."""
        return tuple(Target(view=index, values=self.descriptor(one.view)) for index, one in enumerate(passes))
