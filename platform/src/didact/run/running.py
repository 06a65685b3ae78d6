"""A run: an experiment from its first step, or from where it was left, to its verdict."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import torch

from didact.batching import BatchPlan
from didact.contracts import Report, RunInfo
from didact.doctor import admit
from didact.errors import DidactError, RunError, of_field
from didact.experiment import Experiment
from didact.learner import build_learner
from didact.loading import Steps
from didact.machine.devices import choose_device
from didact.machine.distributed import World, joined, require_gpus, restarts
from didact.machine.signals import stop_requests
from didact.plugins import registry
from didact.record import RunRecord, environment
from didact.record.folder import RunFolder
from didact.record.observing import Observers, Recorder
from didact.record.pretrained import Origin, find_origin
from didact.run.recovery import fit, restore_newest
from didact.spec import evolve
from didact.training.judging import RunSubject
from didact.training.trainer import Trainer

Outcome = Literal["finished", "stopped", "failed"]


@attrs.frozen(kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        folder: where everything about it lies.
        outcome: ``finished``, or ``stopped`` by a signal (it can be resumed).
        step: the last step that was taken.
        reports: what each evaluation found last.
        warnings: what went wrong without ending the run.
    """

    folder: Path
    outcome: Outcome
    step: int
    reports: Mapping[str, Report]
    warnings: tuple[str, ...] = ()


def start(
    experiment: Experiment,
    path: Path,
    *,
    device: str = "auto",
    observers: Mapping[str, Any] | None = None,
    source_file: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    examined: bool = True,
) -> RunResult:
    """Runs an experiment in a new folder; where ``torchrun`` restarts its processes, in the one that they began.

    Args:
        experiment: what to run.
        path: the run's folder; must not hold a run yet.
        device: ``auto``, ``cpu`` or ``cuda``.
        observers: by name, objects with lifecycle hooks, beside those that the experiment lists.
        source_file: the experiment's file, copied into the folder.
        overrides: what the command line changed, for the record.
        examined: whether `didact.doctor` looks at it first, so that the run begins with its warnings. No use for a few
            steps that shall show whether everything fits.

    Raises:
        DidactError: the experiment, its data or its plugins cannot be used; training cannot go on.
    """
    with joined() as world:
        folder = RunFolder(world.broadcast(path))  # a name with the time of day differs from process to process
        origin = _origin(experiment, folder, world)
        trainer, plan = _prepare(experiment, choose_device(device), world, origin)
        warnings = admit(experiment, plan, trainer.learner, path) if examined else ()
        with world.main_first():
            if world.main and not (restarts() > 0 and folder.begun_by_this_launch()):
                RunFolder.create(folder.path, experiment, source_file, overrides or {})
        with folder.locked() if world.main else contextlib.nullcontext():
            return _run(trainer, plan, folder, observers or {}, origin, source_file, warnings)


def create(
    experiment: Experiment, path: Path, *, source_file: Path | None = None, overrides: Mapping[str, str] | None = None
) -> None:
    """Makes the folder of a run that `resume` will start, perhaps in another process.

    Args:
        experiment: what will run; all its parts must be registered by a plugin.
        path: the run's folder; must not hold a run yet.
        source_file: the experiment's file, copied into the folder.
        overrides: what the command line changed, for the record.

    Raises:
        RunError: there is a run in the folder already, or it cannot be written.
    """
    RunFolder.create(path, experiment, source_file, overrides or {})


def amend(path: Path, experiment: Experiment) -> None:
    """Gives a run other evaluations, observers or labels; `resume` then finds what they have not found yet.

    Raises:
        RunError: the experiment trains something else (see `didact.identity`); another process is running it.
    """
    folder = RunFolder.open(path)
    with folder.locked():
        folder.amend(experiment)


def close(path: Path) -> bool:
    """Ends the record of a run whose process was killed, and tells the observers that its experiment lists.

    Nothing of it is lost: `resume` goes on with it as before.

    Returns:
        whether there was anything to end: not where a process is running it, or it came to its end by itself.

    Raises:
        RunError: there is no run in the folder, or it cannot be written.
        PluginError: a plugin that the run was composed of is missing.
    """
    record = RunRecord.open(path)
    if record.state != "killed" or record.closed:
        return False
    folder = RunFolder(path)
    with folder.locked():
        experiment = folder.experiment()
        watching = Observers({}, experiment.observers)
        info = RunInfo(
            folder=path, experiment=experiment, data=record.data, step=record.step, environment=record.environment
        )
        watching.notify("run_started", run=info)
        for found in watching.unfit:
            watching.warn(found, record.step)
        Recorder(path).run_ended(outcome="killed", step=record.step)
        watching.notify("run_ended", outcome="killed", step=record.step)
        folder.write_readme("killed", record.step, folder.found(record.step))
    return True


def resume(
    path: Path,
    *,
    device: str = "auto",
    observers: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> RunResult:
    """Goes on with a run from its newest checkpoint, or from the start where it has none.

    Of a run that took its last step, what is missing of its evaluations is done, and nothing else.

    Args:
        path: the run's folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        observers: by name, objects with lifecycle hooks, beside those that the experiment lists.
        overrides: ``dotted field → value`` to change before, for the record too: how a step is computed, judged or
            recorded, not what is trained.

    Raises:
        DidactError: as for `start`, or there is no run in the folder, or another process is running it.
    """
    folder = RunFolder.open(path)
    with joined() as world, folder.locked() if world.main else contextlib.nullcontext():
        with world.main_first():
            if world.main and overrides:
                folder.amend(evolve(folder.experiment(), overrides, registry().class_of), overrides)
        experiment = folder.experiment()
        origin = _origin(experiment, folder, world)
        trainer, plan = _prepare(experiment, choose_device(device), world, origin)
        return _run(trainer, plan, folder, observers or {}, origin)


def _origin(experiment: Experiment, folder: RunFolder, world: World) -> Origin | None:
    """Which trained weights a run is about to begin with; None: random ones, or those of a checkpoint of its own."""
    weights = experiment.weights
    if weights is None or world.broadcast(any(folder.checkpoints.glob("step-*"))):
        return None
    # a run that was killed before its first checkpoint begins again with what it began with
    return world.broadcast(find_origin(weights, folder.environment().get("weights")) if world.main else None)


def _prepare(
    experiment: Experiment, device: torch.device, world: World, origin: Origin | None
) -> tuple[Trainer, BatchPlan]:
    """Makes all that training needs, so that what is missing or does not fit is found now, and nothing is left behind.

    Data are looked for, those of the evaluations too; the parts are built; and one sample goes through all of them.
    """
    require_gpus(device)
    with world.main_first():  # what is prepared is kept on disk, and made once
        with of_field("source"):
            experiment.source.prepare()
        for name, evaluation in experiment.evaluations.items():
            with of_field(f"evaluations.{name}"):
                evaluation.prepare(experiment)
    with of_field("source"):
        samples = experiment.source.open()
    plan = BatchPlan(samples.lengths, experiment.training.batch, experiment.training.seed)
    learner = build_learner(experiment, None if origin is None else origin.load()).eval()
    rehearsal = Steps(experiment, plan, world).rehearsal()
    with torch.no_grad():
        learner(rehearsal, learner.objective.counts(rehearsal))
    return Trainer(experiment, learner, device, world), plan


def _run(
    trainer: Trainer,
    plan: BatchPlan,
    folder: RunFolder,
    observers: Mapping[str, Any],
    origin: Origin | None,
    source_file: Path | None = None,
    warnings: tuple[str, ...] = (),
) -> RunResult:
    experiment, device, world = trainer.experiment, trainer.device, trainer.world
    damaged = restore_newest(folder.checkpoints, trainer)
    data = {"source": experiment.source.open().fingerprint}
    if trainer.step > 0:
        _require_same_data(world.broadcast(folder.environment().get("data")), data, folder)
    watching = Observers({})
    commit = environment.commit_of(source_file) or folder.environment().get("commit") if world.main else None
    weights = folder.environment().get("weights") if origin is None else attrs.asdict(origin)
    place = environment.describe(device, trainer.precision, data, commit, world.size, weights)
    if world.main:
        folder.write_environment(place)
        watching = Observers({"recorder": Recorder(folder.path), **observers}, experiment.observers)
    info = RunInfo(
        folder=folder.path, experiment=experiment, data=folder.experiment_data(), step=trainer.step, environment=place
    )
    reports: dict[str, Report] = {}

    def evaluate(step: int) -> dict[str, float]:
        return _judge(trainer, folder, watching, reports, step)

    def end() -> None:
        if world.main:
            try:
                watching.notify("run_ended", outcome=outcome, step=trainer.step)
            finally:
                folder.write_readme(outcome, trainer.step, reports)

    outcome: Outcome = "failed"
    with stop_requests() as stop, watching.threads_told():
        try:
            if world.main:
                folder.write_readme("started", trainer.step, reports)
            watching.notify("run_started", run=info)
            for found in (*warnings, *damaged, *watching.unfit) if world.main else ():
                watching.warn(found, trainer.step)
            fit(trainer, plan, folder, watching, stop, evaluate)
            if trainer.step == experiment.training.steps:
                evaluate(trainer.step)
                outcome = "finished"
            else:
                outcome = "stopped"
        except BaseException:
            with contextlib.suppress(RunError):  # the disk may be full: what ended the run is the error to tell
                end()
            raise
        end()
    return RunResult(
        folder=folder.path, outcome=outcome, step=trainer.step, reports=reports, warnings=tuple(watching.warnings)
    )


def _require_same_data(before: Mapping[str, str] | None, now: Mapping[str, str], folder: RunFolder) -> None:
    """Raises a `RunError` where a run that has begun would go on with other samples than it began with."""
    if before is not None and before != now:
        raise RunError(
            f"the source's samples are not those that the run began with: their fingerprint is "
            f"{now['source'][:12]}, and was {before['source'][:12]}",
            where=str(folder.path),
            mend="put the data back as they were, or start a run of its own on these",
        )


def _judge(
    trainer: Trainer, folder: RunFolder, observers: Observers, reports: dict[str, Report], step: int
) -> dict[str, float]:
    """Evaluates the network after a step, into ``reports``; what was found by name and metric, on the main process.

    Raises:
        DidactError: an evaluation says what a user can mend.
        RunError: one failed after the last step; until then training goes on without what it would have found.
    """
    experiment, world = trainer.experiment, trainer.world
    learner = trainer.gather()
    failed: list[str] = []
    with world.main_first():
        subject = RunSubject(experiment, learner, trainer.device, trainer.precision, step)
        known = folder.found(step) if world.main else {}  # by a process that was killed since
        reports.update(known)
        for name, evaluation in experiment.evaluations.items() if world.main else ():
            if name in known:
                continue
            try:
                reports[name] = evaluation.evaluate(subject)
            except DidactError:
                raise
            except Exception as error:  # foreign code: nothing it does may cost what was trained
                failed.append(name)
                reports.pop(name, None)  # of an earlier step
                reason = f"{type(error).__name__}: {error}"
                observers.warn(
                    f"the evaluation {name!r} failed after step {step}: {reason}", step, traceback.format_exc()
                )
            else:
                observers.notify("evaluation_finished", step=step, name=name, report=reports[name])
    failed = world.broadcast(failed)
    if failed and step == experiment.training.steps:
        raise RunError(
            f"training is complete, but not judged: {', '.join(map(repr, failed))} failed",
            where=str(folder.path),
            mend=f"`didact resume {folder.path}` runs what failed again; warnings in its README.md say why it did",
        )
    found = {f"{name}/{metric}": value for name in reports for metric, value in reports[name].metrics.items()}
    told = experiment.training.retention.unknown(found)
    if world.main and told and told not in observers.warnings:
        observers.warn(told, step)
    return found
