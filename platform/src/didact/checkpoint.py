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

SCHEMA = 1
INDEX = "checkpoint.json"


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
        (partial / INDEX).write_text(json.dumps(index, indent=1))
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
        RunError: a file is damaged, or the weights are those of another network.
    """
    index = json.loads((checkpoint.folder / INDEX).read_text())
    for name, digest in index["files"].items():
        path = checkpoint.folder / name
        if not path.exists() or _digest(path) != digest:
            raise RunError(
                f"the checkpoint of step {checkpoint.step} is damaged: {name} is not what was written",
                where=str(path),
                mend="delete that checkpoint's folder; resuming then takes the one before it",
            )
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


def newest(folder: Path) -> Checkpoint | None:
    """The complete checkpoint of the highest step below ``folder``, or None."""
    checkpoints = list(all_complete(folder))
    return checkpoints[-1] if checkpoints else None


def all_complete(folder: Path) -> Iterator[Checkpoint]:
    """The complete checkpoints below ``folder``, from older to newer.

    Raises:
        RunError: one was written by a newer didact.
    """
    for path in sorted(folder.glob("step-*")):
        if not (path / INDEX).exists():
            continue
        index = json.loads((path / INDEX).read_text())
        if index["schema"] > SCHEMA:
            raise RunError(
                f"the checkpoint has schema {index['schema']}, and this didact reads up to {SCHEMA}",
                where=str(path),
                mend="update didact",
            )
        yield Checkpoint(folder=path, step=index["step"], experiment=index["experiment"])


def prune(folder: Path, keep: int) -> None:
    """Deletes all but the newest ``keep`` checkpoints, and what an interrupted write left."""
    for partial in folder.glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
    for checkpoint in list(all_complete(folder))[:-keep]:
        shutil.rmtree(checkpoint.folder)


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
