"""Collapse: how much targets and predictions still vary, and what becomes of a run in which they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from didact.errors import RunError
from didact.machine.distributed import World
from didact.record.observing import Observers, read_metrics

if TYPE_CHECKING:
    from didact.experiment import Training
    from didact.record.folder import RunFolder

TARGETS, PREDICTIONS = "collapse/target_std", "collapse/prediction_std"
LEAST_OF_TARGETS = 0.1  # of the most that they varied before
LEAST_OF_PREDICTIONS = 0.01  # of what their targets vary
# predictions may be all alike at first, as a head starts and while it learns the targets' mean: for so long
EARLY_STEPS, EARLY_SHARE = 100, 0.1  # whichever is longer


class Collapsed(RunError):  # noqa: N818 - what it is
    """Targets or predictions have collapsed, and the experiment says to stop; all processes stop together."""


@attrs.frozen(eq=False)
class Moments:
    """What is needed of some rows (N, D) to say how much they vary with others, in the room of two rows.

    Attributes:
        count: N.
        total: (D,) float32, their sum.
        squares: (D,) float32, the sum of their squared deviations from their own mean.
    """

    count: int
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Moments:
        """Those of ``values`` (N, D)."""
        values = values.float()
        total = values.sum(0)
        return cls(len(values), total, (values - total / max(1, len(values))).square().sum(0))


def standard_deviation(parts: Sequence[Moments], world: World | None = None) -> Tensor:
    """How much rows vary: the mean over channels of √(variance + 1e-6), a scalar.

    The measure that fairseq logs as ``target_var`` and ``pred_var``. Near 0, everything is predicted to be the same;
    targets that are normalised over time stay near 1. Parts are put together as Chan et al. (1979) do it.

    Args:
        parts: this process's rows, in parts.
        world: the rows of all its processes are taken together.
    """
    world = world if world is not None else World()
    device = parts[0].total.device
    count = world.all_reduce(torch.tensor(float(sum(part.count for part in parts)), device=device))
    mean = world.all_reduce(torch.stack([part.total for part in parts]).sum(0)) / count  # (D,)
    between = [part.count * (part.total / max(1, part.count) - mean).square() for part in parts]
    squares = world.all_reduce(torch.stack([part.squares for part in parts] + between).sum(0))  # (D,)
    return (squares / (count - 1) + 1e-6).sqrt().mean()


class CollapseWatch:
    """Sees in the logged steps of a run whether targets or predictions have ceased to vary; tells it once.

    fairseq ends a run where its ``target_var`` falls below 0.1 or its ``pred_var`` below 0.01 after 5 000 steps. Here
    both are shares, so that they fit targets of any scale. Objectives that give no targets are not watched.
    """

    def __init__(self, training: Training, world: World) -> None:
        self._training, self._world = training, world
        self._most = 0.0
        self._told = training.collapse == "ignore"
        self._observers = Observers({})

    def attach(self, folder: RunFolder, observers: Observers) -> None:
        """Takes up what a run's folder has recorded."""
        self._observers = observers
        recorded = read_metrics(folder.path) if self._world.main else []
        self._most = self._world.broadcast(max((line.get(TARGETS, 0.0) for line in recorded), default=0.0))

    def see(self, step: int, metrics: Mapping[str, float]) -> None:
        """Looks at what was logged of a step; all processes are given the same numbers.

        Raises:
            Collapsed: the experiment says to stop.
        """
        found = self._found(step, metrics)
        if not found or self._told:
            return
        self._told = True
        if self._training.collapse == "stop":
            raise Collapsed(
                f"{found} after step {step:,}",
                where="training.collapse=stop",
                mend="start anew: with a teacher that follows more slowly, normalised targets or a lower learning rate",
            )
        if self._world.main:
            self._observers.warn(f"{found} after step {step:,}; training.collapse=stop would end such a run", step)

    def _found(self, step: int, metrics: Mapping[str, float]) -> str:
        """What has collapsed; empty where nothing has."""
        targets, predictions = metrics.get(TARGETS), metrics.get(PREDICTIONS)
        if targets is None:
            return ""
        self._most = max(self._most, targets)
        if targets < LEAST_OF_TARGETS * self._most:
            return f"the targets have collapsed: {TARGETS} is {targets:.2g}, and was {self._most:.2g}"
        late = step > max(EARLY_STEPS, EARLY_SHARE * self._training.steps)
        if late and predictions is not None and predictions < LEAST_OF_PREDICTIONS * targets:
            return f"the predictions have collapsed: {PREDICTIONS} is {predictions:.2g}, the targets' {targets:.2g}"
        return ""
