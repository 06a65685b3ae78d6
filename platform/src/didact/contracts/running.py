"""The data that observers receive from a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import torch

from didact.experiment import Experiment
from didact.learner import Learner
from didact.tensors import Batch


@attrs.frozen(kw_only=True)
class RunInfo:
    """A run, as observers see it.

    Attributes:
        folder: the run's folder.
        experiment: the experiment, including changes on the command line.
        data: the experiment as plain data.
        step: the step from which the run starts; above 0 if the run was resumed.
        environment: versions, plugins, machine, fingerprints of the data.
    """

    folder: Path
    experiment: Experiment
    data: Mapping[str, Any]
    step: int
    environment: Mapping[str, Any]


@attrs.frozen(kw_only=True, eq=False)
class StepFailure:
    """A failed step. Weights, buffers and optimizer are as before the step, unless memory ran out during an update.

    Attributes:
        reason: ``nonfinite``: the loss or gradient is not finite; ``memory``: the step does not fit into memory.
        step: the step's number, from 1.
        parts: this process's share of the batch, in parts for gradient accumulation.
        num_targets: the number of targets of each loss term, over the whole global batch.
        experiment: the run's experiment.
        folder: the run's folder; None if there is none, as in a benchmark.
        learner: the learner, on its device.
        optimizer: the run's optimizer.
        device: the device on which the step is computed.
        precision: the precision of matrix products.
    """

    reason: Literal["nonfinite", "memory"]
    step: int
    parts: tuple[Batch, ...]
    num_targets: Mapping[str, int]
    experiment: Experiment
    folder: Path | None
    learner: Learner
    optimizer: torch.optim.Optimizer
    device: torch.device
    precision: torch.dtype
