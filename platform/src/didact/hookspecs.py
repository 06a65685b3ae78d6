"""The whole extension surface of didact, on one screen.

A plugin is a module, named by an entry point of the group ``didact``, with functions of these names decorated with
``@didact.hookimpl``. A registration hook returns a mapping from a short name to a spec class; the component is then
known as ``PLUGIN/NAME``, such as ``speech/conv-waveform``. Registering adds names and never behaviour.

The hooks and the contracts behind them have a version, `VERSION`, which is the beginning of didact's own: it goes up
when a plugin that was written for it must change. A plugin says which it was made for by what its distribution
requires, ``didact>=0.1,<0.2``, and is refused where that does not fit, whatever an installer let pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from didact import contracts
    from didact.spec import Spec
    from didact.testing.examples import Example

VERSION = "0.1"

hookspec = pluggy.HookspecMarker("didact")
hookimpl = pluggy.HookimplMarker("didact")


class Registration:
    """What a plugin adds."""

    @hookspec
    def didact_feature_encoders(self) -> Mapping[str, type[contracts.FeatureEncoder]]:
        """How raw input becomes a sequence of vectors."""

    @hookspec
    def didact_maskers(self) -> Mapping[str, type[contracts.Masker]]:
        """Which positions the student must not see."""

    @hookspec
    def didact_backbones(self) -> Mapping[str, type[contracts.Backbone]]:
        """What contextualises the sequence."""

    @hookspec
    def didact_target_builders(self) -> Mapping[str, type[contracts.TargetBuilder]]:
        """What is to be predicted."""

    @hookspec
    def didact_objectives(self) -> Mapping[str, type[contracts.Objective]]:
        """How a prediction is compared with its target."""

    @hookspec
    def didact_teachers(self) -> Mapping[str, type[contracts.Teacher]]:
        """The networks that targets come from."""

    @hookspec
    def didact_sources(self) -> Mapping[str, type[contracts.Source]]:
        """Where samples come from."""

    @hookspec
    def didact_evaluations(self) -> Mapping[str, type[contracts.Evaluation]]:
        """What judges a representation."""

    @hookspec
    def didact_observers(self) -> Mapping[str, type[contracts.Observer]]:
        """What watches a run."""

    @hookspec
    def didact_studies(self) -> Mapping[str, type[contracts.Study]]:
        """What runs several experiments to answer one question."""

    @hookspec
    def didact_parts(self) -> Mapping[str, type[Spec]]:
        """Specs that stand in a field of the others: heads, decoders, tokenizers, augmentations."""

    @hookspec
    def didact_media(self) -> Mapping[str, type[contracts.Medium]]:
        """Kinds of files that ``didact ingest`` understands, by the word used on the command line."""

    @hookspec
    def didact_run_finders(self) -> Mapping[str, Callable[[str, str], Sequence[Path]]]:
        """Where runs are found by a query, by the word before its colon: ``(query, place) → folders of runs``."""

    @hookspec
    def didact_commands(self) -> Mapping[str, click.Command]:
        """Further commands of the ``didact`` command line."""

    @hookspec
    def didact_examples(self, folder: Path) -> Mapping[str, Sequence[Example]]:
        """Small instances of what the plugin registers, by short name, on which the contract's rules are tried.

        Only called when somebody checks the plugin; ``folder`` is empty and its own, for stores that they read.
        """


class Lifecycle:
    """What an observer is told between `run_started` and `run_ended`, as it happens.

    The main process of a run calls these; of a run that was killed, whoever notices it (`didact.run.close`).
    """

    @hookspec
    def run_started(self, run: contracts.RunInfo) -> None:
        """The parts are built, and the run goes on from ``run.step``."""

    @hookspec
    def step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        """Step ``step`` (from 1) was taken and is one that is logged; ``metrics`` are ``group/name → value``."""

    @hookspec
    def evaluation_finished(self, step: int, name: str, report: contracts.Report) -> None:
        """The evaluation that the experiment lists as ``name`` has judged the network as it is after ``step``."""

    @hookspec
    def checkpoint_written(self, step: int, folder: str) -> None:
        """A complete checkpoint of ``step`` lies in ``folder``."""

    @hookspec
    def rolled_back(self, step: int) -> None:
        """The run is back at the checkpoint of ``step``; later steps, which were told, are taken again."""

    @hookspec
    def run_warned(self, step: int, text: str, details: str) -> None:
        """Something went wrong after ``step`` that does not end the run; ``details`` may hold a traceback."""

    @hookspec
    def run_ended(self, outcome: str, step: int) -> None:
        """``outcome`` is ``finished``, ``stopped`` (asked to, can be resumed), ``failed`` or ``killed``.

        A killed run cannot tell; another process does, once it is noticed (`didact.run.close`).
        """
