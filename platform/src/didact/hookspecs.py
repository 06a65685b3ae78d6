"""The whole extension surface of didact, on one screen.

A plugin is a module, named by an entry point of the group ``didact``, with functions of these names decorated with
``@hookimpl``. A registration hook maps a short name to a class, or to its place ``"module:Class"``, which is imported
when it is first needed; the component is known as ``PLUGIN/NAME``, such as ``speech/span``. Registering adds names,
never behaviour: observers act in the runs whose experiment lists them.

`VERSION` goes up when plugins must change. A plugin's distribution requires it (``didact>=0.1,<0.2``), or is refused.
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
    """What a plugin adds. Called once, when plugins are discovered; takes none of pluggy's options."""

    @hookspec
    def didact_feature_encoders(self) -> Mapping[str, type | str]: ...  # how raw input becomes a sequence of vectors
    @hookspec
    def didact_maskers(self) -> Mapping[str, type | str]: ...  # which positions the student must not see
    @hookspec
    def didact_backbones(self) -> Mapping[str, type | str]: ...  # what relates the positions to each other
    @hookspec
    def didact_target_builders(self) -> Mapping[str, type | str]: ...  # what is to be predicted
    @hookspec
    def didact_objectives(self) -> Mapping[str, type | str]: ...  # how a prediction is compared with its target
    @hookspec
    def didact_components(self) -> Mapping[str, type | str]:
        """Everything else; the contract that a class implements decides its kind: teacher, source, evaluation,
        observer, study, schedule, medium, run finder, or a spec in a field of another (head, tokenizer)."""

    @hookspec
    def didact_commands(self) -> Mapping[str, Any]: ...  # commands of ``didact``: a click.Command or its place
    @hookspec
    def didact_examples(self) -> Callable[[Path], Mapping[str, Sequence[Any]]] | str:
        """A function of an empty folder that returns small instances of the components by short name.

        The contract's rules are tried on these (`didact_kit.Example`)."""


class Lifecycle:
    """What an observer is told, in this order; honours ``tryfirst`` and ``trylast``, and refuses wrappers.

    run_prepared ─▶ run_started ─▶ (step_finished | step_failed | run_warned | rolled_back
                                    | checkpoint_written | evaluation_finished)* ─▶ run_ended
    """

    @hookspec
    def run_prepared(self, experiment: Experiment, folder: Path, samples: Samples, learner: Learner) -> Sequence[str]:
        """A new run's parts are built and nothing is written yet. Returns warnings; a `DidactError` refuses the run."""

    @hookspec
    def run_started(self, run: RunInfo) -> None: ...  # the run starts, or resumes from ``run.step``
    @hookspec
    def step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        """Step ``step`` (from 1) was taken and is one that is logged; ``metrics`` are ``group/name → value``."""

    @hookspec
    def step_failed(self, failure: StepFailure) -> str | None:
        """A step could not be taken. Returns what explains it, for the error or warning that follows."""

    @hookspec
    def run_warned(self, step: int, text: str, details: str) -> None: ...  # ``details`` may hold a traceback
    @hookspec
    def rolled_back(self, step: int) -> None: ...  # to the checkpoint of ``step``; later steps are taken again
    @hookspec
    def checkpoint_written(self, step: int, folder: str) -> None: ...  # it is complete
    @hookspec
    def evaluation_finished(self, step: int, name: str, report: Report) -> None: ...  # of the network after ``step``
    @hookspec
    def run_ended(self, outcome: str, step: int) -> None:
        """``finished``, ``stopped`` (on request; can be resumed), ``failed``, or ``killed`` (`didact_ablate.close`)."""
