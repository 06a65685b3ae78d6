"""Checkpoints: complete or absent, and free of code.

A checkpoint is a folder of safetensors files and a JSON file, written last, that holds their checksums. Whatever else a
run needs to go on follows from the step: the order of samples, the masks, the dropout. So the step is all that is
stored of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from didact.disk import writing
from didact.errors import RunError
from didact.optimization import load_optimizer_state, named_optimizer_state
from didact.spec import fingerprint

SCHEMA = 1
INDEX = "checkpoint.json"


class DamagedCheckpoint(RunError):
    """A checkpoint on disk is not what was written: a file is missing, cut short, or has other bytes."""


@attrs.frozen(kw_only=True)
class Checkpoint:
    """A complete checkpoint on disk.

    Attributes:
        folder: that holds it.
        step: how many optimizer steps were taken.
        experiment: as plain data.
    """

    folder: Path
    step: int
    experiment: Any


def save(folder: Path, learner: nn.Module, optimizer: torch.optim.Optimizer, step: int, experiment: Any) -> Checkpoint:
    """Writes a checkpoint of ``step`` below ``folder``; it appears there at once and whole, or not at all.

    Raises:
        RunError: it cannot be written (the disk is full, say); what was written before stays as it was.
    """
    final = folder / f"step-{step:08d}"
    partial = folder / f".partial-{step:08d}"
    mend = "free some space and resume: the checkpoint before it is whole"
    with writing(f"the checkpoint of step {step}", final, mend=mend), _removed_on_error(partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _save_tensors(_named_tensors(learner), partial / "learner.safetensors")
        _save_tensors(named_optimizer_state(optimizer, learner), partial / "optimizer.safetensors")
        files = {path.name: _digest(path) for path in sorted(partial.iterdir())}
        index = {"schema": SCHEMA, "step": step, "files": files, "experiment": experiment}
        (partial / INDEX).write_text(json.dumps({**index, "digest": fingerprint(index)}, indent=1))
        for path in partial.iterdir():
            _sync(path)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        _sync(folder)
    return Checkpoint(folder=final, step=step, experiment=experiment)


def load(checkpoint: Checkpoint, learner: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Puts a checkpoint's weights, and its optimizer's state, back.

    Raises:
        DamagedCheckpoint: a file is not what was written; nothing was put back.
        RunError: the weights are those of another network.
    """
    for name, digest in _index(checkpoint.folder)["files"].items():
        path = checkpoint.folder / name
        try:
            whole = _digest(path) == digest
        except OSError as error:
            raise _damaged(checkpoint.folder, f"{name} cannot be read: {error.strerror}") from error
        if not whole:
            raise _damaged(checkpoint.folder, f"{name} is not what was written")
    stored = load_file(checkpoint.folder / "learner.safetensors")
    wanted = dict(_named_tensors(learner))
    different = [name for name in stored.keys() | wanted.keys() if _shape(stored, name) != _shape(wanted, name)]
    if different:
        name = min(different)
        raise RunError(
            f"the checkpoint holds another network: {name} is {_shape(stored, name)} in it and {_shape(wanted, name)} "
            f"in the experiment ({len(different)} such weights)",
            where=str(checkpoint.folder),
            mend="build the experiment that the run's experiment.json describes",
        )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(stored[name])
    if optimizer is not None:
        load_optimizer_state(optimizer, learner, load_file(checkpoint.folder / "optimizer.safetensors"))


def all_complete(folder: Path) -> Iterator[Checkpoint]:
    """The checkpoints below ``folder`` whose index can be read, from older to newer.

    Raises:
        RunError: one was written by a newer didact.
    """
    for path in sorted(folder.glob("step-*")):
        with contextlib.suppress(DamagedCheckpoint):
            yield read(path)


def read(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, by its index alone; `load` looks at its files.

    Raises:
        DamagedCheckpoint: the index is missing or not what was written.
        RunError: it was written by a newer didact.
    """
    index = _index(folder)
    return Checkpoint(folder=folder, step=index["step"], experiment=index["experiment"])


def prune(folder: Path, keep: int) -> None:
    """Deletes all but the newest ``keep`` checkpoints, and what an interrupted write left."""
    for partial in folder.glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
    for checkpoint in list(all_complete(folder))[:-keep]:
        shutil.rmtree(checkpoint.folder)


def _index(folder: Path) -> dict[str, Any]:
    """What a checkpoint's index says, which a digest of its own vouches for."""
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_bytes())
        schema, digest = index["schema"], index.pop("digest", None)  # the first ones had no digest
    except OSError as error:
        raise _damaged(folder, f"{INDEX} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, f"{INDEX} is not what was written: {error}") from error
    if not isinstance(schema, int) or digest not in (None, fingerprint(index)):
        raise _damaged(folder, f"{INDEX} is not what was written")
    if schema > SCHEMA:
        raise RunError(
            f"the checkpoint has schema {schema}, and this didact reads up to {SCHEMA}",
            where=str(folder),
            mend="update didact",
        )
    return index


def _damaged(folder: Path, what: str) -> DamagedCheckpoint:
    return DamagedCheckpoint(
        f"the checkpoint {folder.name} is damaged: {what}",
        where=str(folder),
        mend="look at the disk that it lies on; where a copy of the folder is left, put it back",
    )


def _named_tensors(learner: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and persistent buffer once; tied ones under their first name."""
    persistent = learner.state_dict(keep_vars=True).keys()
    yield from learner.named_parameters(remove_duplicate=True)
    yield from ((name, buffer) for name, buffer in learner.named_buffers() if name in persistent)


@contextlib.contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _save_tensors(tensors: Iterable[tuple[str, Tensor]], path: Path) -> None:
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors}, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error  # it has no class of its own for what the disk refuses


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
