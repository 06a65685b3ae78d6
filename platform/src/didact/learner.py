"""The learner: the training step that all methods share.

::

        loader's workers                                       device
    Source ─▶ sample ─Masker─▶ Batch ─embed─▶ Tokens ─┬─place─▶ Backbone ─▶ BackboneOutput ─┐
                                                      └───── TargetBuilder ─▶ Targets ──────┴─Objective─▶ Loss

The masker runs in the loader's workers (`didact.loading`), before the encoder; the batch holds the masks. The learner
does not depend on the modality, the teacher or the shape of a mask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from didact.contracts.data import Source
from didact.contracts.network import Network
from didact.contracts.targets import ObjectiveModule, TargetBuilderModule
from didact.tensors import Batch, Loss, StudentPass

SHOWN = 3  # number of tensors that an error names; the others are counted


class Learner(nn.Module):
    """A network, its targets, and its objective.

    Args:
        network: the student.
        targets: builds the targets that the student must predict.
        objective: compares predictions with targets.
        source: the source of the samples; it completes batches on the device.
    """

    def __init__(
        self, network: Network, targets: TargetBuilderModule, objective: ObjectiveModule, source: Source
    ) -> None:
        super().__init__()
        self.network, self.targets, self.objective, self.source = network, targets, objective, source

    def forward(self, batch: Batch, num_targets: Mapping[str, int]) -> tuple[Tensor, Loss]:
        """Computes the loss of a batch, or of a part of a global batch.

        Args:
            batch: one or more views, each with M masks per sample.
            num_targets: the number of targets of each loss term (`ObjectiveModule.num_targets`), summed over the whole
                global batch, of which ``batch`` may be a part.

        Returns:
            The loss to minimise, a scalar with gradient, and the objective's `Loss`. The losses of the parts of a
            global batch add up to the loss of the whole batch.
        """
        device = batch.views[0].content.device.type
        with record_function("augmentation"), torch.no_grad(), torch.autocast(device, enabled=False):
            batch = self.source.finish(batch)
        passes = self.passes(batch)
        with record_function("targets"):
            targets = self.targets(batch, passes, self.network)
        with record_function("objective"):
            loss: Loss = self.objective(batch, passes, targets)
        total = torch.stack([term.float() / max(1, num_targets[name]) for name, term in loss.terms.items()]).sum()
        return total, loss

    def passes(self, batch: Batch) -> tuple[StudentPass, ...]:
        """Computes the student's pass over each view that the student encodes; the other views get an empty pass."""
        return tuple(
            self.network.of(index)(view, index) if view.student else StudentPass(index=index, view=view)
            for index, view in enumerate(batch.views)
        )

    def evaluated(self, which: Literal["student", "teacher"]) -> Network:
        """Returns a network in evaluation mode; the ``teacher`` is the student if the method has none."""
        network = self.network if which == "student" else self.targets.evaluated_network(self.network)
        return network.eval()

    def after_step(self, step: int, steps: int) -> Mapping[str, float | Tensor]:
        """Updates targets and objective, once per optimizer step; returns scalars to log."""
        updated = (part.after_step(self.network, step, steps) for part in (self.targets, self.objective))
        return {name: value for scalars in updated for name, value in scalars.items()}


def add_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Adds up the counts of several batches, term by term."""
    total = Counter[str]()
    for count in counts:
        total.update(count)  # `+` would drop terms whose count is 0
    return dict(total)


def differences(theirs: Mapping[str, tuple[int, ...]], mine: Mapping[str, tuple[int, ...]]) -> str:
    """Names the first tensors, given their shapes by name, that differ between a run and here; empty if none does."""
    found = [f"{name} {mine[name]} is missing in the run" for name in mine if name not in theirs]
    found += [f"{name} {theirs[name]} is in the run alone" for name in theirs if name not in mine]
    other = [name for name in mine if name in theirs and mine[name] != theirs[name]]
    found += [f"{name} is {theirs[name]} in the run and {mine[name]} here" for name in other]
    return "; ".join(found[:SHOWN]) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors that a checkpoint holds: each parameter and persistent buffer, of any shape, exactly once."""
    persistent = module.state_dict(keep_vars=True).keys()
    yield from module.named_parameters(remove_duplicate=True)
    yield from ((name, buffer) for name, buffer in module.named_buffers() if name in persistent)
