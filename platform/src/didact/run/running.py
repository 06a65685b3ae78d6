"""Runs an experiment from its first step, or from its newest checkpoint, to its evaluations."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
import torch

from didact.batching import BatchPlan
from didact.building import build_learner, build_network, require_fields
from didact.contracts.data import Samples
from didact.contracts.running import RunInfo
from didact.errors import RunError, of_field
from didact.experiment import Experiment, Report, RunState, metrics_of
from didact.loading import Steps
from didact.loop.trainer import Trainer
from didact.machine.devices import choose_device
from didact.machine.distributed import SharedError, World, joined, require_gpus, restarts
from didact.machine.processes import stop_requests
from didact.plugins import registry
from didact.record.folder import RunFolder, environment_of
from didact.record.observers import RECORDER, Observers, Recorder
from didact.record.pretrained import Origin, find_origin
from didact.run.recovery import fit, restore_newest
from didact.serialization import override

Outcome = Literal["finished", "stopped", "failed"]


@attrs.frozen(kw_only=True)
class RunResult:
    """The result of a run.

    Attributes:
        folder: the run's folder.
        outcome: ``finished``, perhaps early (``training.patience``), or ``stopped`` by a signal (it can be resumed).
        step: the last step that was taken.
        reports: the last result of each evaluation.
        warnings: problems that did not end the run.
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
    """Runs an experiment in a new folder; if ``torchrun`` restarts the processes, in the folder that they created.

    To start a run in another process, create its folder with `RunFolder.create` and call `resume` there.

    Args:
        experiment: what to run.
        path: the run's folder; must not hold a run yet.
        device: ``auto``, ``cpu`` or ``cuda``.
        observers: ``name → object`` with lifecycle hooks, in addition to the observers that the experiment lists.
        source_file: the experiment's file, copied into the folder.
        overrides: the changes on the command line, for the record.
        examined: whether observers examine the run first (``run_prepared``). Not useful for runs of a few steps that
            only check whether all parts fit.

    Raises:
        DidactError: the experiment, its data or its plugins cannot be used; training cannot continue.
    """
    with joined() as world:
        folder = RunFolder(world.broadcast(path))  # the time in a name differs between processes
        ready = _prepare(experiment, folder, world, device, observers)
        warnings: list[str] = []
        if examined:
            about = {"experiment": experiment, "folder": path, "samples": ready.samples}
            answers = ready.observers.notify("run_prepared", learner=ready.trainer.learner, **about)
            warnings = [text for found in answers for text in found]
        with world.main_first():
            if world.main and not (restarts() > 0 and folder.begun_by_this_launch()):
                RunFolder.create(folder.path, experiment, source_file, overrides)
        with folder.locked() if world.main else contextlib.nullcontext():
            return _run(ready, folder, warnings)


def resume(
    path: Path,
    *,
    device: str = "auto",
    observers: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> RunResult:
    """Resumes a run from its newest checkpoint, or from the start if it has none.

    If all steps were taken, only missing evaluations are run.

    Args:
        path: the run's folder.
        device: see `start`.
        observers: see `start`.
        overrides: ``dotted field → value``; recorded changes of the experiment before resuming. They may affect how a
            step is computed, evaluated or recorded, but not what is trained.

    Raises:
        DidactError: see `start`; also, the folder holds no run, or another process is running the run.
    """
    folder = RunFolder.open(path)
    with joined() as world:
        with world.main_first():
            if world.main and overrides:
                folder.amend(override(folder.experiment(), overrides, registry().class_of), overrides)
        with folder.locked() if world.main else contextlib.nullcontext():
            return _run(_prepare(folder.experiment(), folder, world, device, observers), folder)


@attrs.frozen(kw_only=True, eq=False)
class _Ready:
    """Everything that training needs; ``origin`` of the initial weights is None if they are random or restored."""

    trainer: Trainer
    plan: BatchPlan
    samples: Samples
    origin: Origin | None
    observers: Observers


def _prepare(
    experiment: Experiment, folder: RunFolder, world: World, device: str, observers: Mapping[str, Any] | None
) -> _Ready:
    """Makes everything that training needs, so that errors are reported before anything is written.

    Prepares the data, including those of evaluations, builds the parts, and passes one sample through all parts.
    """
    weights, origin = experiment.weights, None
    if weights is not None and not world.broadcast(any(folder.checkpoints.glob("step-*"))):
        # a run that was killed before its first checkpoint starts again from the same weights
        origin = world.broadcast(find_origin(weights, folder.environment().get("weights")) if world.main else None)
    chosen = choose_device(device)
    require_gpus(chosen)
    with world.main_first():  # prepared data are stored on disk, so this happens only once
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
    require_fields(experiment, samples.fields)
    with torch.no_grad():
        learner(rehearsal, learner.objective.num_targets(rehearsal))
    if world.main:
        watching = Observers({RECORDER: Recorder(folder.path), **(observers or {})}, experiment.observers)
    else:
        watching = Observers({}, [observer for observer in experiment.observers if observer.everywhere])
    trainer = Trainer(experiment, learner, chosen, world)
    return _Ready(trainer=trainer, plan=plan, samples=samples, origin=origin, observers=watching)


def _run(ready: _Ready, folder: RunFolder, warnings: Sequence[str] = ()) -> RunResult:
    trainer, watching, experiment, world = ready.trainer, ready.observers, ready.trainer.experiment, ready.trainer.world
    damaged = restore_newest(folder, trainer)
    before, data = folder.environment(), {"source": ready.samples.fingerprint}
    begun = world.broadcast(before.get("data", data))
    if trainer.step > 0 and begun != data:
        prints = f"their fingerprint is {data['source'][:12]}, and was {begun['source'][:12]}"
        what = f"the source's samples are not those that the run began with: {prints}"
        raise RunError(what, where=str(folder.path), hint="restore the data, or start a new run on these")
    place = environment_of(trainer.device, trainer.precision) | {
        "data": data,
        "commit": before.get("commit"),
        "processes": world.size,
        "weights": before.get("weights") if ready.origin is None else attrs.asdict(ready.origin),
    }
    if world.main:
        folder.write("environment.json", place)
        folder.keep(experiment.source.assets())
    recorded, reports = folder.experiment_data(), dict[str, Report]()
    info = RunInfo(folder=folder.path, experiment=experiment, data=recorded, step=trainer.step, environment=place)
    outcome: Outcome = "failed"

    with stop_requests() as stop, watching.watching_threads():
        try:
            if world.main:
                folder.write_readme("started", trainer.step, reports)
            watching.notify("run_started", run=info)
            for warning in (*warnings, *damaged, *watching.unfit) if world.main else ():
                watching.warn(warning, trainer.step)
            fit(trainer, ready.plan, folder, watching, stop, partial(_evaluate, trainer, folder, watching, reports))
            outcome = "finished" if trainer.finished else "stopped"
        finally:
            lost = (RunError,) if outcome == "failed" else ()  # the disk may be full; the original error is reported
            with contextlib.suppress(*lost):
                try:
                    watching.notify("run_ended", outcome=outcome, step=trainer.step)
                finally:
                    if world.main:
                        folder.write_readme(outcome, trainer.step, reports)
    warned = tuple(watching.warnings)
    return RunResult(folder=folder.path, outcome=outcome, step=trainer.step, reports=reports, warnings=warned)


def _evaluate(
    trainer: Trainer, folder: RunFolder, observers: Observers, reports: dict[str, Report], step: int
) -> dict[str, float]:
    """Evaluates the network after a step, into ``reports``; returns metrics by ``name/metric``.

    All processes take part. The reports of the main process are recorded.

    Raises:
        DidactError: an evaluation reports an error that the user can fix.
        RunError: an evaluation failed after the last step; before the last step, training continues without its result.
    """
    experiment, world, final = trainer.experiment, trainer.world, trainer.finished
    learner, initial = trainer.gather(), partial(build_network, experiment)
    state = RunState(experiment, learner, initial, trainer.device, trainer.precision, step, final, world)
    known = world.broadcast(folder.found(step, final) if world.main else {})  # from a process that was killed
    reports.update(known)
    failed: list[str] = []
    for name in [one for one in experiment.evaluations if one not in known]:
        try:
            with world.sharing_errors():
                reports[name] = experiment.evaluations[name].evaluate(state)
        except SharedError as error:
            if error.cause is not None:
                raise error.cause from error
            failed.append(name)  # foreign code: its errors must not lose the trained weights
            reports.pop(name, None)  # a report of an earlier step
            if world.main:
                observers.warn(f"the evaluation {name!r} failed after step {step}: {error.text}", step, error.details)
        else:
            if world.main:
                observers.notify("evaluation_finished", step=step, name=name, report=reports[name], final=final)
    if failed and trainer.finished:
        what = f"training is complete, but not evaluated: {', '.join(map(repr, failed))} failed"
        hint = f"`didact resume {folder.path}` repeats what failed; its events.jsonl holds the tracebacks"
        raise RunError(what, where=str(folder.path), hint=hint)
    found = metrics_of(reports)
    warning = experiment.training.unknown_best(found)
    if world.main and warning and warning not in observers.warnings:
        observers.warn(warning, step)
    return found
