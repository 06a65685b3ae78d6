"""The contracts around a run: what observers are given, and what runs several experiments."""

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
        folder: that holds everything about it.
        experiment: what runs, with everything that the command line changed.
        data: the experiment as plain data.
        step: from which it starts; more than 0 where it was resumed.
        environment: versions, plugins, machine, fingerprints of the data.
    """

    folder: Path
    experiment: Experiment
    data: Mapping[str, Any]
    step: int
    environment: Mapping[str, Any]


@attrs.frozen(kw_only=True, eq=False)
class StepFailure:
    """A step that could not be taken. Weights, buffers and optimizer are as the step found them, unless memory ran out
    in the middle of their update.

    Attributes:
        reason: ``nonfinite``: its loss or gradient is not finite; ``memory``: it does not fit into memory.
        step: its number, from 1.
        parts: this process's share of the batch, in parts for gradient accumulation.
        num_targets: the number of targets of each loss term, over the whole global batch.
        experiment: that runs.
        folder: of the run; None where there is none, as in a benchmark.
        learner: on its device.
        optimizer: of the run.
        device: on which the step is computed.
        precision: of its matrix products.
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
    """Several experiments that answer one question together; ``didact run FILE`` runs it.

    Attributes:
        name: of the study; everything about it is in a folder of that name.
    """

    name: str

    @abc.abstractmethod
    def experiments(self) -> Mapping[str, Experiment]:
        """The experiments by name, each once where several differ in their seed alone."""

    @abc.abstractmethod
    def smoke(self, *, device: str) -> None:
        """Takes two steps of each experiment and keeps nothing; a `DidactError` names one that does not fit."""

    @abc.abstractmethod
    def run(self, *, folder: Path, device: str, jobs: int, source_file: Path) -> bool:
        """Runs what is missing and reports the result; called again, it resumes. True: all runs are complete.

        Args:
            folder: for everything about the study; it may hold what an earlier call left.
            device: of each run: ``auto``, ``cpu`` or ``cuda``.
            jobs: largest number of runs side by side.
            source_file: the file that holds the study.

        Raises:
            DidactError: it cannot be run at all. A single experiment that fails is reported, and the others continue.
        """
