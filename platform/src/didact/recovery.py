"""Going back to a checkpoint: the newest that is whole, whatever the disk did to those after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from didact import checkpoint
from didact.checkpoint import Checkpoint, DamagedCheckpoint
from didact.disk import set_aside
from didact.errors import RunError


def restore_newest(folder: Path, restore: Callable[[Checkpoint], None]) -> list[str]:
    """Restores the newest checkpoint below ``folder`` that is whole; does nothing where there never was one.

    Those that are damaged are renamed, so that they neither count among those to keep nor are taken for whole again.

    Args:
        folder: that holds checkpoints.
        restore: puts one back; raises `DamagedCheckpoint` where it is not what was written.

    Returns:
        what to tell of each damaged one.

    Raises:
        RunError: there are some, but none is whole; or one cannot be used although it is.
    """
    damaged: list[DamagedCheckpoint] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            stored = checkpoint.read(path)
            restore(stored)
        except DamagedCheckpoint as error:
            damaged.append(error)
            continue
        return [_told(error, stored.step) for error in damaged]
    if damaged:
        newest, *older = damaged
        raise RunError(
            f"no checkpoint of this run is whole: {newest.what}"
            + (f" ({len(older)} older ones are damaged too)" if older else ""),
            where=newest.where,
            mend="put a copy of a checkpoint's folder back if there is one, or start the experiment in a new folder",
        )
    return []


def _told(error: DamagedCheckpoint, step: int) -> str:
    path = Path(error.where)
    return f"{error.what}; it was renamed to {set_aside(path).name}, and the run goes on from step {step}"
