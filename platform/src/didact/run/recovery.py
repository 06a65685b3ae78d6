"""Training on after a fault, or ending it with a checkpoint: back to the newest one that is whole and of use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from didact.batching import BatchPlan
from didact.errors import DidactError, RunError
from didact.experiment import Experiment
from didact.identity import goes_on_as
from didact.machine.disk import set_aside
from didact.machine.signals import StopRequest
from didact.plugins import registry
from didact.record import checkpoint
from didact.record.checkpoint import Checkpoint, DamageError
from didact.record.folder import RunFolder
from didact.record.observing import Observers
from didact.spec import from_data
from didact.training.collapse import Collapsed
from didact.training.nonfinite import NotFinite, RollBack, spoilt_weight
from didact.training.trainer import Trainer


def fit(
    trainer: Trainer,
    plan: BatchPlan,
    folder: RunFolder,
    observers: Observers,
    stop: StopRequest,
    evaluate: Callable[[int], Mapping[str, float]],
) -> None:
    """`Trainer.fit`, which goes back to a checkpoint where the experiment says so, and leaves one where it fails.

    Raises:
        DidactError: as `Trainer.fit` does; says from which step the run can be resumed.
    """
    rollback = trainer.experiment.training.nonfinite == "rollback"
    if rollback and trainer.world.broadcast(not any(folder.checkpoints.glob("step-*"))):
        save_now(trainer, folder, observers)  # there must be one to go back to
    while True:
        try:
            trainer.fit(plan, folder, observers, stop, evaluate)
            return
        except RollBack:
            pass  # outside of this clause, so that what the failed attempt held is free: its workers, its batch
        except DidactError as error:
            raise _with_checkpoint(error, trainer, folder, observers) from error
        trainer.optimizer.zero_grad(set_to_none=True)
        for told in restore_newest(folder.checkpoints, trainer):
            observers.warn(told, trainer.step)
        observers.notify("rolled_back", step=trainer.step)


def save_now(trainer: Trainer, folder: RunFolder, observers: Observers) -> None:
    """Writes a checkpoint of the step just taken, and waits for it.

    Raises:
        RunError: it cannot be written.
    """
    keep = trainer.experiment.training.retention
    with closing(checkpoint.Writer(folder.checkpoints, keep, trainer.world)) as writer:
        writer.begin(trainer.learner, trainer.optimizer, trainer.step, folder.experiment_data())
        for written in writer.completed(wait=True):
            observers.notify("checkpoint_written", step=written.step, folder=str(written.folder))


def restore_newest(folder: Path, trainer: Trainer) -> list[str]:
    """Restores the newest checkpoint below ``folder`` that is of use; does nothing where there never was one.

    One that is damaged, or holds weights that are not finite, is renamed, so that it neither counts among those to keep
    nor is taken for whole again.

    Returns:
        what to tell of each such one.

    Raises:
        RunError: there are some, but none is of use; or the newest is of a run that trained something else.
    """
    world = trainer.world
    told: list[str] = []
    while True:
        stored, damaged = world.broadcast(newest_whole(folder) if world.main else (None, []))
        told += damaged
        if stored is None:
            break
        _require_same_training(stored, trainer.experiment)
        trainer.optimizer.state.clear()  # a checkpoint of step 0 has none
        trainer.restore(stored)
        spoilt = spoilt_weight(trainer.learner, world)
        if not spoilt:
            return told
        if world.main:
            set_aside(stored.folder)
        world.barrier()
        told.append(
            f"the checkpoint {stored.folder.name} is of no use: the weight {spoilt} is not finite in it; it was "
            f"renamed to damaged-{stored.folder.name}"
        )
    if told:
        raise RunError(
            f"no checkpoint of this run is of use: {told[0]}",
            where=str(folder),
            mend="start the experiment in a new folder, with a lower training.learning_rate or training.clip_norm",
        )
    return told


def _require_same_training(stored: Checkpoint, experiment: Experiment) -> None:
    """Raises a `RunError` where an experiment trains something else than the one that left a checkpoint."""
    before: Experiment = from_data(stored.experiment, Experiment, registry().class_of)
    if not goes_on_as(before, experiment):
        raise RunError(
            "the run's experiment.json trains something else than its checkpoint was trained by",
            where=str(stored.folder),
            mend="put it back as the checkpoint.json there has it; `didact resume RUN --set` changes what can be "
            "changed of a run that has begun",
        )


def newest_whole(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint below ``folder`` that is whole.

    Those that are damaged are renamed, so that they neither count among those to keep nor are taken for whole again.

    Returns:
        the checkpoint, or None where there never was one; and what to tell of each damaged one.

    Raises:
        RunError: there are some, but none is whole.
    """
    damaged: list[DamageError] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            stored = checkpoint.read(path)
            checkpoint.verify(stored)
        except DamageError as error:
            damaged.append(error)
            continue
        return stored, [_told(error, stored.step) for error in damaged]
    if damaged:
        newest, *older = damaged
        raise RunError(
            f"no checkpoint of this run is whole: {newest.what}"
            + (f" ({len(older)} older ones are damaged too)" if older else ""),
            where=newest.where,
            mend="put a copy of a checkpoint's folder back if there is one, or start the experiment in a new folder",
        )
    return None, []


def _told(error: DamageError, step: int) -> str:
    path = Path(error.where)
    return f"{error.what}; it was renamed to {set_aside(path).name}, and the run goes on from step {step}"


def _with_checkpoint(error: DidactError, trainer: Trainer, folder: RunFolder, observers: Observers) -> DidactError:
    """Saves the last complete step where that is possible, and has the error say how to go on.

    What raises a `DidactError` (a source, a worker, a step that is not finite, the disk) does so between two updates of
    the weights, so they are those of ``trainer.step``.
    """
    world = trainer.world
    if world.size > 1 and not isinstance(error, (NotFinite, Collapsed)):
        return error  # the others may be anywhere: to save together with them would hang
    if trainer.step == 0 or spoilt_weight(trainer.learner, world):
        return error
    if world.broadcast(all(found.step != trainer.step for found in checkpoint.all_complete(folder.checkpoints))):
        try:
            save_now(trainer, folder, observers)
        except DidactError:
            return error  # a full disk, say, and perhaps the error itself
    if isinstance(error, Collapsed):
        return error  # there is no going on
    on = f"`didact resume {folder.path}` goes on from step {trainer.step}"
    return type(error)(error.what, where=error.where, mend=f"{error.mend}; then {on}" if error.mend else on)
