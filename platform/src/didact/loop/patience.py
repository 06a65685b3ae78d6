"""The values of the metric that chooses the best checkpoint, and the decision whether it still improves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from didact.experiment import Experiment, metrics_of
from didact.record.folder import RunFolder, read_metrics


class Patience:
    """The values of ``training.keep_best`` up to a run's last step, and whether the run ends early.

    The values are those in the run's folder, so a run that was killed and resumed ends at the same step
    and keeps the same checkpoints.

    Attributes:
        values: the values by step; higher is better. Values that are not finite are minus infinity.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.training = experiment.training
        self.values: dict[int, float] = {}
        self._best = 0  # the step of the best value

    def attach(self, folder: RunFolder, step: int) -> None:
        """Loads the recorded values up to ``step``, to continue the run."""
        self._best = 0
        self.values.clear()
        if self.training.keep_best is not None:
            recorded = {int(metrics["step"]): metrics for metrics in read_metrics(folder.path)}
            recorded |= {each: metrics_of(folder.found(each)) | recorded.get(each, {}) for each in folder.evaluated()}
            for each in sorted(recorded):
                self.add(each, recorded[each] if each <= step else {})

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds the metrics of a step; equal values, and values that are not finite, are no improvement."""
        if (value := metrics.get(self.training.best_metric)) is not None:
            higher = -value if (self.training.keep_best or "").startswith("-") else value
            self.values[step] = higher if math.isfinite(higher) else -math.inf
            if self.values[step] > self.values.get(self._best, -math.inf):
                self._best = step

    @property
    def exhausted(self) -> bool:
        """Whether as many values as ``training.patience`` came after the best one."""
        later = itertools.takewhile(lambda step: step > self._best, reversed(self.values))
        return self.training.patience is not None and len(list(later)) >= self.training.patience
