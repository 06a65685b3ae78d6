"""HuBERT's later target features: a hidden state of an earlier run's network."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import attrs
import torch
from torch import Tensor

from didact import HiddenState, Network, Signal, SpecError, View
from didact.tensors import Feature
from didact_masked.target_features import TargetFeature, TargetFeatureModule


@attrs.frozen(kw_only=True)
class EarlierLayer(TargetFeature):
    """A hidden state of the network of an earlier run, computed on the unmasked input; that network stays frozen.

    HuBERT's later iterations cluster the sixth block of the previous network (Hsu et al. 2021, section IV.B). The
    earlier run's folder must not be moved, because this run reads it when it starts and when it resumes. The earlier
    network computes in this run's precision.

    Attributes:
        run: the earlier run's folder.
        block: the block whose hidden state is used, counted from 1 for the lowest.
        feature: which feature of the block is used.
        network: the ``student`` or the ``teacher`` of the earlier run.
        step: the step of the checkpoint. None: the newest checkpoint.
    """

    run: str
    block: int = 6
    feature: Feature = "block"
    network: Literal["student", "teacher"] = "student"
    step: int | None = None

    def validate(self) -> None:
        self.require(self.block >= 1, "block", "at least 1")

    def build(self, network: Network) -> EarlierLayerModule:
        from didact.record import RunRecord  # here, because few runs need it

        earlier = RunRecord.open(Path(self.run)).network(self.network, step=self.step)
        theirs, ours = _said(earlier.signal), _said(network.signal)
        if theirs != ours:
            raise SpecError(
                f"the run in {self.run} learned from {theirs}, and the source gives {ours}",
                where="run",
                hint="use a run on the same kind of samples",
            )
        depth = len(earlier.backbone.blocks)
        if self.block > depth:
            raise SpecError(
                f"EarlierLayer.block must be at most {depth}, the depth of the network in {self.run}, got {self.block}",
                where="block",
                hint="HuBERT uses the middle block",
            )
        return EarlierLayerModule(earlier, HiddenState(block=self.block - 1, feature=self.feature))


def _said(signal: Signal) -> str:
    rate = f" at {signal.rate_hz:,} Hz" if signal.rate_hz is not None else ""
    return f"{signal.coding or signal.kind}{rate}"


class EarlierLayerModule(TargetFeatureModule):
    """The earlier network, always in evaluation mode."""

    def __init__(self, network: Network, wanted: HiddenState) -> None:
        super().__init__()
        self.network, self.wanted = network.requires_grad_(False), wanted
        self.width = network.backbone.width
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Keeps evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, view: View) -> Tensor:
        """Computes the block's feature at every position: (B, T, D) float32.

        Raises:
            SpecError: the earlier network has a different number of positions.
        """
        tokens = self.network.encoder.embed(view)
        positions, expected = tokens.features.shape[1], view.layout.positions
        if positions != expected:
            raise SpecError(
                f"the other network has {positions} positions where this one has {expected}",
                where="experiment.targets.feature.run",
                hint="use a run whose encoder has the same patches or strides",
            )
        context = self.network.contextualize(tokens, None, (self.wanted,))
        return context.positions_only(context.hidden_states[0]).float()
