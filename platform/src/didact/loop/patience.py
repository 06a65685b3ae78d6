"""Early stopping: decides from a run's record whether the metric that chooses the best checkpoint still improves."""

from __future__ import annotations

import math
from collections.abc import Mapping

from didact.experiment import Experiment, metrics_of
from didact.record.folder import RunFolder, read_metrics


class Patience:
    """Decides whether a run ends early, from the values of ``training.keep_best`` up to its last step.

    The values are those in the run's folder, so a run that was killed and resumed ends at the same step.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.rule, self.limit = experiment.training.retention, experiment.training.patience

    def attach(self, folder: RunFolder, step: int) -> None:
        """Loads the recorded values up to ``step``, to continue the run."""
        self._best, self._later = (-math.inf, 0), set[int]()  # the best value and its step; the steps after it
        if self.limit is not None:
            recorded = {int(metrics["step"]): metrics for metrics in read_metrics(folder.path)}
            recorded |= {each: metrics_of(folder.found(each)) | recorded.get(each, {}) for each in folder.evaluated()}
            for each in sorted(recorded):
                self.add(each, recorded[each] if each <= step else {})

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds the metrics of a step; equal values, and values that are not finite, are no improvement."""
        value, (best, of_step) = self.rule.value(metrics), self._best
        if math.isfinite(value) and value > best:
            self._best, self._later = (value, step), set()
        elif self.rule.metric in metrics and step > of_step:
            self._later.add(step)

    @property
    def exhausted(self) -> bool:
        """Whether as many values as ``training.patience`` came after the best one."""
        return self.limit is not None and len(self._later) >= self.limit
