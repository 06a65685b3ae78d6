"""The learner: one training step, written once for every method.

::

        loader's workers                                       device
    Source ─▶ sample ─Masker─▶ Batch ─embed─▶ Tokens ─┬─place─▶ Backbone ─▶ BackboneOutput ─┐
                                                      └───── TargetBuilder ─▶ Targets ──────┴─Objective─▶ Loss

The masker runs in the loader's workers (`didact.loading`), before the encoder; the batch holds its masks. Nothing here
depends on the modality, the teacher or the shape of a mask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from didact.contracts.data import Source
from didact.contracts.network import Network
from didact.contracts.targets import ObjectiveModule, TargetBuilderModule
from didact.tensors import Batch, Loss


class Learner(nn.Module):
    """A network, its targets, and its objective.

    Args:
        network: the student.
        targets: what it must predict.
        objective: how a prediction is compared with its target.
        source: of the samples, which finishes batches.
    """

    def __init__(
        self, network: Network, targets: TargetBuilderModule, objective: ObjectiveModule, source: Source
    ) -> None:
        super().__init__()
        self.network, self.targets, self.objective, self.source = network, targets, objective, source

    def forward(self, batch: Batch, num_targets: Mapping[str, int]) -> tuple[Tensor, Loss]:
        """The loss of a batch, or of a part of one.

        Args:
            batch: one or more views, each behind its M masks.
            num_targets: the number of targets of each loss term (`ObjectiveModule.num_targets`), added up over the
                whole global batch, of which ``batch`` may be a part.

        Returns:
            The loss to minimise, a scalar with gradient: the losses of the parts of a global batch add up to that of
            the whole. And the objective's `Loss`.
        """
        device = batch.views[0].content.device.type
        with record_function("augmentation"), torch.no_grad(), torch.autocast(device, enabled=False):
            batch = self.source.finish(batch)
        passes = tuple(self.network(view) for view in batch.views)
        with record_function("targets"):
            targets = self.targets(passes, self.network)
        with record_function("objective"):
            loss: Loss = self.objective(passes, targets)
        total = torch.stack([term.float() / max(1, num_targets[name]) for name, term in loss.terms.items()]).sum()
        return total, loss

    def after_step(self, step: int, steps: int) -> Mapping[str, float | Tensor]:
        """Lets the teacher follow, once per optimizer step; returns scalars to log."""
        return self.targets.after_step(self.network, step, steps)


def add_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of the counts of several batches, term by term."""
    total = Counter[str]()
    for count in counts:
        total.update(count)  # `+` would lose terms without a target
    return dict(total)


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a checkpoint holds: each parameter and persistent buffer, of any shape, once and by one name."""
    persistent = module.state_dict(keep_vars=True).keys()
    yield from module.named_parameters(remove_duplicate=True)
    yield from ((name, buffer) for name, buffer in module.named_buffers() if name in persistent)
