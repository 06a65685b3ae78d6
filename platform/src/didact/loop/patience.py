"""Early stopping: decides from a run's record whether the metric that chooses the best checkpoint still improves."""

from __future__ import annotations

import math
from collections.abc import Mapping

from didact.experiment import Experiment
from didact.record.folder import RunFolder
from didact.record.reading import read_metrics


class Patience:
    """Decides whether a run ends early, from the values of ``training.keep_best`` up to its last step.

    The values are those in the run's folder, so a run that was killed and resumed ends at the same step.

    Attributes:
        exhausted: whether as many values as ``training.patience`` came after the best one.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.limit = experiment, experiment.training.patience
        self.metric = (experiment.training.keep_best or "").removeprefix("-")
        self.exhausted = False
        self._values: dict[int, float] = {}  # by step; higher is better

    def attach(self, folder: RunFolder, step: int) -> None:
        """Loads the recorded values up to ``step``, to continue the run."""
        self._values, self.exhausted = {}, False
        evaluation = self.metric.partition("/")[0]
        if self.limit is None:
            return
        if evaluation in self.experiment.evaluations:
            for path in (folder.path / "evaluations").glob(f"{evaluation}-*.json"):
                recorded = int(path.stem.rpartition("-")[2])
                if recorded <= step and (report := folder.found(recorded).get(evaluation)):
                    self.add(recorded, {f"{evaluation}/{name}": value for name, value in report.metrics.items()})
        else:
            for metrics in read_metrics(folder.path):
                if metrics["step"] <= step:
                    self.add(int(metrics["step"]), metrics)

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds the metrics of a step; equal values, and values that are not finite, are no improvement."""
        if self.limit is None or self.metric not in metrics:
            return
        lowest = (self.experiment.training.keep_best or "").startswith("-")
        value = -metrics[self.metric] if lowest else metrics[self.metric]
        self._values[step] = value if math.isfinite(value) else -math.inf
        best = max(self._values, key=lambda known: (self._values[known], -known))
        self.exhausted = sum(known > best for known in self._values) >= self.limit
