"""Going back to a checkpoint: the newest that is whole, whatever the disk did to those after it."""

from __future__ import annotations

from pathlib import Path

from didact import checkpoint
from didact.checkpoint import Checkpoint, DamageError
from didact.disk import set_aside
from didact.errors import RunError


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
