"""The contracts around a run: the data that observers receive, and studies of several experiments."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import torch

from didact.experiment import Experiment
from didact.learner import Learner
from didact.spec import Spec
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


@attrs.frozen(kw_only=True)
class Study(Spec, abc.ABC):
    """Several experiments that together answer one question; ``didact run FILE`` runs a study.

    Attributes:
        name: the study's name; all of its runs and results are stored in a folder of this name.
    """

    name: str

    @abc.abstractmethod
    def experiments(self) -> Mapping[str, Experiment]:
        """Returns the experiments by name; experiments that differ only in their seed are returned once."""

    @abc.abstractmethod
    def smoke(self, *, device: str) -> None:
        """Takes two steps of each experiment and keeps nothing; a `DidactError` names an experiment that fails."""

    @abc.abstractmethod
    def run(self, *, folder: Path, device: str, jobs: int, source_file: Path) -> bool:
        """Executes the missing runs and reports the result; a further call resumes. True: all runs are complete.

        Args:
            folder: the folder of the study; it may hold the results of an earlier call.
            device: the device of each run: ``auto``, ``cpu`` or ``cuda``.
            jobs: maximum number of parallel runs.
            source_file: the file that holds the study.

        Raises:
            DidactError: the study cannot be run. A single failing experiment is reported, and the others continue.
        """
