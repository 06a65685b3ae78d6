"""Recovers from faults: returns to the newest usable checkpoint, or ends the run with a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from didact.batching import BatchPlan
from didact.errors import DidactError, RunError
from didact.experiment import continues
from didact.loop.faults import BrokenStepError, CollapseError, RollBack, StepError, spoilt_weight
from didact.loop.trainer import Trainer
from didact.machine.disk import set_aside
from didact.machine.processes import StopRequest
from didact.record import checkpoint
from didact.record.checkpoint import Checkpoint
from didact.record.folder import RunFolder
from didact.record.observers import Observers


def fit(
    trainer: Trainer,
    plan: BatchPlan,
    folder: RunFolder,
    observers: Observers,
    stop: StopRequest,
    evaluate: Callable[[int], Mapping[str, float]],
) -> None:
    """Runs `Trainer.fit`, with rollbacks if the experiment enables them, and saves a checkpoint if training fails.

    Raises:
        DidactError: an error of `Trainer.fit`; the hint names the step from which the run can be resumed.
    """
    rollback = trainer.experiment.training.nonfinite == "rollback"
    if rollback and trainer.world.broadcast(not any(folder.checkpoints.glob("step-*"))):
        _save_now(trainer, folder, observers)  # a rollback needs a checkpoint
    while True:
        try:
            trainer.fit(plan, folder, observers, stop, evaluate)
            return
        except RollBack:
            pass  # continue outside of this clause, so that the workers and the batch of the failed attempt are freed
        except DidactError as error:
            raise _with_checkpoint(error, trainer, folder, observers) from error
        trainer.optimizer.zero_grad(set_to_none=True)
        for warning in restore_newest(folder, trainer):
            observers.warn(warning, trainer.step)
        observers.notify("rolled_back", step=trainer.step)


def restore_newest(folder: RunFolder, trainer: Trainer) -> list[str]:
    """Restores a run's newest usable checkpoint; does nothing if the run has no checkpoint.

    A checkpoint that is damaged, or holds weights that are not finite, is renamed, so that it is not used again and is
    not counted among the checkpoints to keep.

    Returns:
        A warning for each renamed checkpoint.

    Raises:
        RunError: there are checkpoints, but none is usable; or the newest belongs to a run that trained something else.
    """
    world = trainer.world
    warnings: list[str] = []
    while True:
        stored, damaged = world.broadcast(_newest_whole(folder.checkpoints) if world.main else (None, []))
        warnings += damaged
        if stored is None and warnings:
            what = f"no checkpoint of this run can be used: {warnings[0]}"
            hint = "start a new run, with a lower training.optimizer.learning_rate or training.max_grad_norm"
            raise RunError(what, where=str(folder.checkpoints), hint=hint)
        if stored is None:
            return warnings
        if not continues(stored.experiment, folder.experiment_data()):
            what = "the run's experiment.json trains something else than its checkpoint was trained by"
            hint = "restore it from the checkpoint.json there; `didact resume RUN --set` changes what may change"
            raise RunError(what, where=str(stored.folder), hint=hint)
        trainer.optimizer.state.clear()  # a checkpoint of step 0 has none
        checkpoint.load(stored, trainer.learner, trainer.optimizer)
        trainer.step = stored.step
        spoilt = spoilt_weight(trainer.learner, world)
        if not spoilt:
            return warnings
        if world.main:
            set_aside(stored.folder)
        world.barrier()
        reason = f"the weight {spoilt} is not finite in it; it was renamed to damaged-{stored.folder.name}"
        warnings.append(f"the checkpoint {stored.folder.name} cannot be used: {reason}")


def _newest_whole(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Returns the newest undamaged checkpoint, and a warning for each newer, damaged checkpoint, which is renamed."""
    for replaced in folder.glob(".replaced-*"):  # the process was killed while replacing this checkpoint
        place = folder / replaced.name.removeprefix(".replaced-")
        if not place.exists():
            replaced.rename(place)
    stored, damaged = checkpoint.newest_whole(folder)
    if stored is None and damaged:
        newest, *older = damaged
        also = f" ({len(older)} older ones are damaged too)" if older else ""
        hint = "restore a copy of a checkpoint's folder if there is one, or start a new run"
        raise RunError(f"no checkpoint of this run is whole: {newest.what}{also}", where=newest.where, hint=hint)
    resumes = f"and the run resumes from step {stored.step}" if stored is not None else ""
    return stored, [
        f"{error.what}; it was renamed to {set_aside(Path(error.where)).name}, {resumes}" for error in damaged
    ]


def _save_now(trainer: Trainer, folder: RunFolder, observers: Observers) -> None:
    """Writes a checkpoint of the last step, and waits for it."""
    with closing(trainer.writer(folder, observers)) as writer:
        writer.begin(trainer.learner, trainer.optimizer, trainer.step, folder.experiment_data())
        writer.finish()


def _with_checkpoint(error: DidactError, trainer: Trainer, folder: RunFolder, observers: Observers) -> DidactError:
    """Saves the last complete step if possible, and adds to the error's hint how to resume.

    A `DidactError` (of a source, a worker, a failed step or the disk) is raised between two updates of the weights, so
    the weights are those of ``trainer.step``. `BrokenStepError` is the only exception.
    """
    world = trainer.world
    # otherwise the other processes may be anywhere, and saving together with them would hang
    together = world.size == 1 or isinstance(error, (StepError, CollapseError))
    if isinstance(error, BrokenStepError) or not together:
        return error
    if trainer.step == 0 or spoilt_weight(trainer.learner, world):
        return error
    if world.broadcast(all(found.step != trainer.step for found in checkpoint.all_complete(folder.checkpoints))):
        try:
            _save_now(trainer, folder, observers)
        except (DidactError, MemoryError, RuntimeError):
            return error  # the disk is full, which may be the original error, or memory is still short
    if isinstance(error, CollapseError):
        return error  # resuming would not help
    on = f"`didact resume {folder.path}` resumes from step {trainer.step}"
    return type(error)(error.what, where=error.where, hint=f"{error.hint}; then {on}" if error.hint else on)
