"""Masked cross-entropy: the class of each masked position (BERT, BEiT, HuBERT)."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch.nn import functional as F

from didact import Batch, Loss, Network, Objective, ObjectiveModule, StudentPass, Target, TargetBuilderModule
from didact.errors import of_field
from didact.placing import repeat
from didact_distill import Head, HeadModule, LinearHead, require_mask, require_targets
from didact_masked.fitting import require_own_positions, require_position_targets


@attrs.frozen(kw_only=True)
class MaskedCrossEntropy(Objective):
    """The cross-entropy of the true class at the masked positions, averaged over the global batch.

    BERT (Devlin et al. 2019, section 3.1), BEiT (Bao et al. 2022, eq. 1) and HuBERT with α = 1 (Hsu et al. 2021,
    eq. 1), which predicts only masked frames. Besides the loss it logs ``predict/accuracy``, the share of masked
    positions where the true class has the largest logit.

    Attributes:
        head: the head that computes one logit for each class: `TiedHead` for ids of text, `CosineHead` for HuBERT's
            clusters, ``LinearHead(initialization="truncated")`` for BEiT's, `MaskTokenDecoder` if positions are
            dropped.
    """

    head: Head = LinearHead(initialization="truncated")

    @property
    def requires_masks(self) -> bool:
        return True

    def build(self, network: Network, targets: TargetBuilderModule) -> MaskedCrossEntropyModule:
        require_position_targets(
            targets,
            "ids",
            "MaskedCrossEntropy",
            "use targets=InputIds() or ClusterTargets(…), or objective=didact_distill.LatentRegression() for vectors",
        )
        with of_field("head"):
            return MaskedCrossEntropyModule(self.head.build(network, targets.width))


class MaskedCrossEntropyModule(ObjectiveModule):
    """The head."""

    def __init__(self, head: HeadModule) -> None:
        super().__init__()
        self.head = head

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        return {"cross_entropy": sum(require_mask(view, "MaskedCrossEntropy").count for view in batch.views)}

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the logits (N, C) with the ids (B, T) at the masked positions."""
        require_targets(passes, targets, "MaskedCrossEntropy")
        terms, right, count = [], [], 0
        for target in targets:
            student = passes[target.view]
            require_own_positions(student, "MaskedCrossEntropy")
            mask = require_mask(student.view, "MaskedCrossEntropy")
            logits = self.head(student.backbone_output, mask, repeat(student.view.padding, mask)).float()  # (N, C)
            ids = target.values.flatten().index_select(0, mask.target_indices)  # (B, T) -> (N,)
            terms.append(F.cross_entropy(logits, ids, reduction="sum"))
            right.append((logits.detach().argmax(-1) == ids).sum())
            count += mask.count
        accuracy = torch.stack(right).sum() / max(1, count)
        return Loss(terms={"cross_entropy": torch.stack(terms).sum()}, scalars={"predict/accuracy": accuracy})
