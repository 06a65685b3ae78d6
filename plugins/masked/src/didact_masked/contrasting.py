"""wav2vec 2.0's objective: identify a position's target among the targets of other positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from didact import (
    Batch,
    BatchMask,
    Loss,
    Network,
    Objective,
    ObjectiveModule,
    SpecError,
    StudentPass,
    Target,
    TargetBuilderModule,
    View,
)
from didact.errors import of_field
from didact.machine.distributed import connected
from didact.placing import repeat
from didact.preflight import Finding, Preflight
from didact.randomness import uniform
from didact_distill import Head, HeadModule, LinearHead, require_mask, require_targets
from didact_masked.fitting import require_own_positions, require_position_targets
from didact_masked.quantization import QuantizedTarget, QuantizedTargetsModule


@attrs.frozen(kw_only=True)
class Contrastive(Objective):
    """Identifies the target of a masked position among the targets of other masked positions of the same sample.

    Baevski et al. 2020, wav2vec 2.0, section 3.2, eq. 2 to 4. Any continuous targets are supported; the diversity
    requires `QuantizedTargets`, as in the paper. Distractors are drawn from each sample's key (`View.keys`), so they do
    not depend on how the batch is split. A distractor with the same codes as the target is left out.

    The diversity is a function of the global batch, so it requires ``gradient_accumulation_steps`` of 1. (The released
    code computes it for each device.) ``quantizer/perplexity`` is logged with it.

    Attributes:
        head: the head that predicts vectors of the targets' width.
        distractors: K, the number of distractors; 100. The same position may be drawn more than once.
        temperature: κ; 0.1.
        diversity: α, weight of the share of codes that are not used; 0.1. It must be 0 for targets without codebooks.
    """

    head: Head = LinearHead()
    distractors: int = 100
    temperature: float = 0.1
    diversity: float = 0.1

    def validate(self) -> None:
        self.require(self.distractors >= 1, "distractors", "at least 1")
        self.require(self.temperature > 0, "temperature", "above 0")
        self.require(self.diversity >= 0, "diversity", "at least 0")

    @property
    def supports_accumulation(self) -> bool:
        return self.diversity == 0

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Checks that there are enough positions for the distractors."""
        shortest = preflight.layouts[0].positions
        if shortest <= self.distractors:
            yield Finding.warning(
                f"the shortest sample has {shortest} positions, not enough for {self.distractors} different "
                f"distractors of each position",
                where="distractors",
                hint=f"at most {max(1, shortest // 2)}, or longer samples",
            )

    @property
    def requires_masks(self) -> bool:
        return True

    def build(self, network: Network, targets: TargetBuilderModule) -> ContrastiveModule:
        require_position_targets(
            targets,
            "vectors",
            "Contrastive",
            "use targets=QuantizedTargets(), FeatureTargets(…) or didact_distill.TopKTargets(…), or "
            "objective=MaskedCrossEntropy(…) for ids",
        )
        if self.diversity and not isinstance(targets, QuantizedTargetsModule):
            raise SpecError(
                f"Contrastive.diversity needs codebooks, and {type(targets).__name__.removesuffix('Module')} has none",
                where="diversity",
                hint="set diversity=0, or use targets=QuantizedTargets()",
            )
        with of_field("head"):
            return ContrastiveModule(self, self.head.build(network, targets.width))


class ContrastiveModule(ObjectiveModule):
    """The head."""

    def __init__(self, spec: Contrastive, head: HeadModule) -> None:
        super().__init__()
        self.spec, self.head = spec, head

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        masked = sum(require_mask(view, "Contrastive").count for view in batch.views)
        return {"contrast": masked, "diversity": masked} if self.spec.diversity else {"contrast": masked}

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the head's predictions (N, D) with the targets (B, T, D) of the same and of other positions.

        The diversity is multiplied by this process's number of masked positions, because the sum over all processes is
        later divided by the global number.
        """
        require_targets(passes, targets, "Contrastive")
        contrast, right, predicted, expected, usage = [], [], [], [], []
        for target in targets:
            student = passes[target.view]
            require_own_positions(student, "Contrastive")
            mask = require_mask(student.view, "Contrastive")
            predictions = self.head(student.backbone_output, mask, repeat(student.view.padding, mask)).float()  # (N, D)
            logits = self._logits(predictions, target, student.view)  # (N, 1 + K)
            contrast.append(F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long), reduction="sum"))
            right.append((logits.detach().argmax(-1) == 0).sum())
            predicted.append(predictions.detach())
            expected.append(target.values.detach().float().flatten(0, 1).index_select(0, mask.target_indices))
            if self.spec.diversity and isinstance(target, QuantizedTarget):
                usage.append(target.probabilities.flatten(0, 1).index_select(0, mask.target_indices))  # (N, G, V)
        terms, count = {"contrast": torch.stack(contrast).sum()}, sum(map(len, predicted))
        scalars = {"predict/accuracy": torch.stack(right).sum() / max(1, count)}
        if usage:
            perplexity, most = self._perplexity(torch.cat(usage))
            scalars["quantizer/perplexity"] = perplexity.detach()
            terms["diversity"] = self.spec.diversity * count * (1 - perplexity / most)
        return Loss(terms=terms, predictions=torch.cat(predicted), targets=torch.cat(expected), scalars=scalars)

    def _logits(self, predictions: Tensor, target: Target, view: View) -> Tensor:
        """Computes the similarity of each prediction (N, D) to its candidates, its own target first: (N, 1 + K).

        The similarities of all pairs of positions in a row are computed as one product, and those of the candidates are
        selected from it. Gathering K + 1 vectors for each position would need a hundred times the memory.
        """
        mask = require_mask(view, "Contrastive")
        rows, t = mask.predicted.shape[0] * mask.masks, view.layout.positions
        own = mask.mask_indices % t  # (N,) positions of each row
        others, any_other = draw_distractors(mask, view.keys, self.spec.distractors)  # (N, K) into N, (N,)
        with torch.autocast(predictions.device.type, enabled=False):
            spread = predictions.new_zeros(rows * t, predictions.shape[1])
            spread = spread.index_copy(0, mask.mask_indices, F.normalize(predictions, dim=-1)).view(rows, t, -1)
            values = F.normalize(target.values.float(), dim=-1).repeat_interleave(mask.masks, 0)  # (R, T, D)
            alike = (spread @ values.transpose(1, 2)).flatten(0, 1).index_select(0, mask.mask_indices)  # (N, T)
        places = torch.cat([own[:, None], own[others]], 1)  # (N, 1 + K)
        logits = alike.gather(1, places) / self.spec.temperature
        same = ~any_other[:, None].expand_as(others)
        if isinstance(target, QuantizedTarget):
            ids = target.ids.flatten().index_select(0, mask.target_indices)  # (B, T) -> (N,)
            same = same | (ids[others] == ids[:, None])
        return torch.where(F.pad(same, (1, 0)), float("-inf"), logits)

    def _perplexity(self, probabilities: Tensor) -> tuple[Tensor, int]:
        """Computes the effective number of codes, over all groups, of probabilities (N, G, V), and the largest one."""
        _, groups, codes = probabilities.shape
        total, count = probabilities.sum(0), torch.full((), float(len(probabilities)), device=probabilities.device)
        if self.training:
            world = connected()
            total, count = world.all_reduce(total), world.all_reduce(count)
        mean = total / count.clamp(min=1)  # (G, V)
        return torch.special.entr(mean).sum(-1).exp().sum(), groups * codes


def draw_distractors(mask: BatchMask, keys: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Draws other masked positions of the same row, uniformly, for every masked position.

    Args:
        mask: M masks for each of B samples, with N masked positions in total.
        keys: (B,) int64 on the CPU; see `View.keys`. None, outside training: each sample's index in the batch.
        count: K, the number of distractors.

    Returns:
        (N, K) int64, indices into the N masked positions, and (N,) bool; true = the position's row has another masked
        position. Otherwise the position is its own distractor.
    """
    samples, masks, t = mask.predicted.shape
    keys = torch.arange(samples) if keys is None else keys
    drawn = uniform(keys, t * masks * count).to(mask.mask_indices.device, non_blocking=True)  # (B, T·M·K)
    # (B, T·M·K) -> (R·T, K), position by position, so that the draws of the first positions do not depend on T
    drawn = drawn.view(samples, t, masks, count).transpose(1, 2).flatten(0, 2)
    drawn = drawn.index_select(0, mask.mask_indices)  # (N, K)
    row = mask.mask_indices // t  # (N,)
    held = mask.predicted.flatten(0, 1).sum(1)  # (R,)
    first = held.cumsum(0) - held  # (R,), index into N of each row's first position
    place = torch.arange(len(row), device=row.device)
    others = (held - 1).index_select(0, row)[:, None]  # (N, 1)
    choice = (drawn * others).long().minimum((others - 1).clamp(min=0))  # (N, K), among the row's other positions
    choice = first.index_select(0, row)[:, None] + choice
    choice = choice + (choice >= place[:, None])  # skips the position itself
    return torch.where(others > 0, choice, place[:, None]), (others > 0).squeeze(1)
