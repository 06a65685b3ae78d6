"""The contracts around a run: what judges it, what watches it, and what runs several."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import torch
from torch import Tensor

from didact.sounds import Sound
from didact.spec import Spec
from didact.tensors import Batch, Loss, StudentPass, Target

if TYPE_CHECKING:
    from didact.experiment import Experiment
    from didact.learner import Network


# ── What becomes of a run ─────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Report:
    """What an evaluation found.

    Attributes:
        metrics: ``name → value``; the experiment's name for the evaluation goes before them.
        images: ``name → (H, W, 3) uint8``.
        texts: ``name → text``, Markdown or plain.
        sounds: ``name → sound``.
    """

    metrics: Mapping[str, float]
    images: Mapping[str, Tensor] = attrs.field(factory=dict, eq=False)
    texts: Mapping[str, str] = attrs.field(factory=dict)
    sounds: Mapping[str, Sound] = attrs.field(factory=dict, eq=False)


class Subject(Protocol):
    """What is judged: the networks of a run at a step."""

    experiment: Experiment
    step: int
    device: torch.device

    def student(self) -> Network:
        """The student, in evaluation mode."""

    def teacher(self) -> Network:
        """The teacher, in evaluation mode; the student where the method has no teacher."""

    def untrained(self) -> Network:
        """The network at its random initialisation, even where the run starts from trained weights: the control."""

    def targets(self, batch: Batch) -> tuple[tuple[StudentPass, ...], tuple[Target, ...]]:
        """What the student makes of a batch and what it should predict, as in training but in evaluation mode."""

    def predict(self, batch: Batch) -> Loss:
        """The objective's word on a batch, in evaluation mode and without gradient: predictions and targets (N, D)."""


@attrs.frozen(kw_only=True)
class Evaluation(Spec, abc.ABC):
    """Judges a network, at the end of training and, where the experiment says so, during it."""

    def prepare(self, experiment: Experiment) -> None:
        """Makes and checks what it needs, before the first step: a missing store is found now, not after the last step.

        Args:
            experiment: that lists it.

        Raises:
            DataError: a source of its own cannot be used.
            SpecError: it does not fit the experiment.
        """

    @abc.abstractmethod
    def evaluate(self, subject: Subject) -> Report:
        """The verdict. Labels come from sources of the evaluation's own."""


@attrs.frozen(kw_only=True)
class Observer(Spec, abc.ABC):
    """Watches a run; acts only in the runs whose experiment lists it."""

    @abc.abstractmethod
    def build(self) -> Any:
        """An object whose ``@hookimpl`` methods are lifecycle hooks of `didact.hookspecs`."""


@attrs.frozen(kw_only=True)
class RunInfo:
    """A run, as observers see it.

    Attributes:
        folder: where everything about it lies.
        experiment: what runs, with everything that the command line changed.
        data: the experiment as plain data.
        step: from where it starts; more than 0 where it was resumed.
        environment: versions, plugins, machine, fingerprints of the data.
    """

    folder: Path
    experiment: Experiment
    data: Mapping[str, Any]
    step: int
    environment: Mapping[str, Any]


# ── What runs experiments ─────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class StudyCall:
    """How somebody asked for a study to be run.

    Attributes:
        folder: where everything about the study goes; it may hold what an earlier call left.
        device: of each run: ``auto``, ``cpu`` or ``cuda``.
        jobs: at most so many runs side by side.
        source_file: the file that the study stands in.
    """

    folder: Path
    device: str
    jobs: int
    source_file: Path


@attrs.frozen(kw_only=True)
class Study(Spec, abc.ABC):
    """Several experiments that answer one question together: what ``didact run FILE`` runs where the file holds one.

    Attributes:
        name: of the study; everything about it lies in a folder of that name.
    """

    name: str

    @abc.abstractmethod
    def experiments(self) -> Mapping[str, Experiment]:
        """What it runs, by name, each once where several differ in their seed alone; ``--smoke`` tries these."""

    @abc.abstractmethod
    def run(self, call: StudyCall) -> bool:
        """Runs what is missing and says what was found; called again, it goes on where it was.

        Returns:
            whether all of it is done.

        Raises:
            DidactError: it cannot be run at all. A single experiment that fails is reported, and the others go on.
        """
