"""All hooks that plugins and observers can implement.

A plugin is a module that an entry point of the group ``didact`` names. Its hooks are functions with the names below,
decorated with ``@hookimpl``. A registration hook maps a short name to a class, or to an import path ``"module:Class"``
that is imported when it is first needed. The component is called ``PLUGIN/NAME``, such as ``speech/span``. Registration
adds names but no behaviour: an observer is active only in runs whose experiment lists it.

`VERSION` increases when plugins must change. A plugin's distribution requires a version of didact
(``didact>=0.1,<0.2``); a plugin that requires another version is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from didact import Experiment, Learner, Report, RunInfo, Samples, StepFailure

VERSION = "0.1"
hookspec, hookimpl = pluggy.HookspecMarker("didact"), pluggy.HookimplMarker("didact")


class Registration:
    """Hooks that register components. Called once, when plugins are discovered; pluggy's options are not supported."""

    @hookspec
    def didact_feature_encoders(self) -> Mapping[str, type | str]: ...  # convert raw input to sequences of vectors
    @hookspec
    def didact_maskers(self) -> Mapping[str, type | str]: ...  # select the positions hidden from the student
    @hookspec
    def didact_backbones(self) -> Mapping[str, type | str]: ...  # relate the positions to each other
    @hookspec
    def didact_target_builders(self) -> Mapping[str, type | str]: ...  # build the targets
    @hookspec
    def didact_objectives(self) -> Mapping[str, type | str]: ...  # compare predictions with targets
    @hookspec
    def didact_components(self) -> Mapping[str, type | str]:
        """All other components; the contract that a class implements determines its kind: teacher, source, evaluation,
        observer, study, schedule, optimizer, medium, run finder, or a spec in a field of another spec (head)."""

    @hookspec
    def didact_commands(self) -> Mapping[str, Any]: ...  # commands of ``didact``: click.Command or import path
    @hookspec
    def didact_examples(self) -> Callable[[Path], Mapping[str, Sequence[Any]]] | str:
        """Returns a function that takes an empty folder and returns small instances of the components by short name.

        The contract tests run on these instances (`didact_kit.Example`)."""


class Lifecycle:
    """Hooks for observers, called in this order; ``tryfirst`` and ``trylast`` are supported, wrappers are not.

    run_prepared ─▶ run_started ─▶ (step_finished | step_failed | run_warned | rolled_back
                                    | checkpoint_written | evaluation_finished)* ─▶ run_ended
    """

    @hookspec
    def run_prepared(self, experiment: Experiment, folder: Path, samples: Samples, learner: Learner) -> Sequence[str]:
        """Called with a new run's parts before anything is written. Returns warnings; a `DidactError` rejects it."""

    @hookspec
    def run_started(self, run: RunInfo) -> None: ...  # the run starts, or resumes from ``run.step``
    @hookspec
    def step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        """Called after each logged step; ``step`` counts from 1, and ``metrics`` are ``group/name → value``."""

    @hookspec
    def step_failed(self, failure: StepFailure) -> str | None:
        """Called when a step fails. Returns an explanation for the error or warning that follows."""

    @hookspec
    def run_warned(self, step: int, text: str, details: str) -> None: ...  # ``details`` may hold a traceback
    @hookspec
    def rolled_back(self, step: int) -> None: ...  # to the checkpoint of ``step``; later steps are repeated
    @hookspec
    def checkpoint_written(self, step: int, folder: str) -> None: ...  # the checkpoint is complete
    @hookspec
    def evaluation_finished(self, step: int, name: str, report: Report, final: bool) -> None:
        """Called with the result for the network after ``step``; ``final``: training has ended."""

    @hookspec
    def run_ended(self, outcome: str, step: int) -> None:
        """Ends a run: ``finished``, ``stopped`` (resumable), ``failed`` or ``killed`` (`didact_ablate.close`)."""
