"""Checkpoints: written beside training, complete or absent, and free of code.

A checkpoint is a folder of safetensors files, written by `torch.distributed.checkpoint`, and a JSON file, written last,
that holds their checksums. Each process writes what it holds, and any number of processes can read it back. Whatever
else a run needs to go on follows from the step: the order of samples, the masks, the dropout. So the step is all that
is stored of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors
from torch.distributed.tensor import DTensor

from didact.errors import RunError
from didact.learner import named_tensors
from didact.machine.disk import writing
from didact.machine.distributed import PATIENCE, World
from didact.optimization import empty_optimizer_state, load_optimizer_state, named_optimizer_state
from didact.retention import Retention
from didact.spec import fingerprint

SCHEMA = 2  # 1 had one file for the learner and one for the optimizer, written by one process
INDEX = "checkpoint.json"
LEARNER, OPTIMIZER = "learner", "optimizer"


class DamageError(RunError):
    """A checkpoint on disk is not what was written: a file is missing, cut short, or has other bytes."""


@attrs.frozen(kw_only=True)
class Checkpoint:
    """A complete checkpoint on disk.

    Attributes:
        folder: that holds it.
        step: how many optimizer steps were taken.
        experiment: as plain data.
        metrics: what is known of this step: what was logged, and what evaluations found.
    """

    folder: Path
    step: int
    experiment: Any
    metrics: Mapping[str, float] = attrs.field(factory=dict)


class Writer:
    """Writes a run's checkpoints, one at a time, while training goes on.

    All processes of the run begin, and close, together.

    Args:
        folder: below which they lie, on a disk that all processes share.
        keep: which of them are kept.
        world: the processes of the run.
    """

    def __init__(self, folder: Path, keep: Retention, world: World) -> None:
        self.folder, self.keep, self.world = folder, keep, world
        # a group of its own: what it agrees on crosses what the step agrees on
        self._group: dist.ProcessGroup | None = _new_group() if world.size > 1 else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._begun: Future[Checkpoint] | None = None
        self._completed: list[Checkpoint] = []

    def begin(
        self,
        learner: nn.Module,
        optimizer: torch.optim.Optimizer,
        step: int,
        experiment: Any,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Copies what is to be stored, and has it written; waits for the checkpoint before, if that takes so long.

        Args:
            learner: its weights.
            optimizer: its state.
            step: how many steps were taken.
            experiment: as plain data.
            metrics: what is known of this step; those that are not finite are left out.

        Raises:
            RunError: the one before could not be written.
        """
        self._finish()
        staged = {
            LEARNER: {name: _on_host(tensor) for name, tensor in named_tensors(learner)},
            OPTIMIZER: {name: _on_host(tensor) for name, tensor in named_optimizer_state(optimizer, learner)},
        }
        finite = {name: value for name, value in (metrics or {}).items() if math.isfinite(value)}
        path = self.folder / f"step-{step:08d}"
        stored = Checkpoint(folder=path, step=step, experiment=experiment, metrics=finite)
        self._begun = self._thread.submit(self._write, staged, stored)

    def completed(self, *, wait: bool = False) -> list[Checkpoint]:
        """The checkpoints that became complete since this was last asked.

        Args:
            wait: for the one that is being written.

        Raises:
            RunError: one could not be written (the disk is full, say); what was written before stays as it was.
        """
        if wait or (self._begun is not None and self._begun.done()):
            self._finish()
        completed, self._completed = self._completed, []
        return completed

    def _finish(self) -> None:
        if self._begun is not None:
            begun, self._begun = self._begun, None
            self._completed.append(begun.result())

    def close(self) -> None:
        """Waits for what is being written; what went wrong with it is no longer asked for."""
        self._thread.shutdown()

    def _write(self, staged: Mapping[str, dict[str, Tensor]], stored: Checkpoint) -> Checkpoint:
        """Writes a checkpoint; it appears below the folder at once and whole, or not at all."""
        partial = self.folder / f".partial-{stored.step:08d}"
        mend = "free some space and resume: the checkpoint before it is whole"
        with writing(f"the checkpoint of step {stored.step}", stored.folder, mend=mend), _removed_on_error(partial):
            if self.world.main:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            for name, tensors in staged.items():
                self._save(tensors, partial / name)
            if self.world.main:
                self._complete(partial, stored)
        return stored

    def _save(self, tensors: dict[str, Tensor], folder: Path) -> None:
        if self._group is not None:
            dist.barrier(self._group)  # until the main process has made the folder
        with _one_process_is_fine(), _as_os_error():
            # all of the tensors pass the host already: one thread writes as fast as the disk
            storage = HuggingFaceStorageWriter(str(folder), save_distributed=True)
            storage.per_thread_copy_ahead = 0  # all lies on the host: no copies in a stream of this thread's own GPU
            save_tensors(tensors, storage_writer=storage, process_group=self._group, no_dist=self._group is None)

    def _complete(self, partial: Path, stored: Checkpoint) -> None:
        """What the main process does when all have written."""
        files = [path for path in sorted(partial.rglob("*")) if path.is_file()]
        index = {
            "schema": SCHEMA,
            "step": stored.step,
            "experiment": stored.experiment,
            "metrics": dict(stored.metrics),
            "files": {str(path.relative_to(partial)): _digest(path) for path in files},
        }
        (partial / INDEX).write_text(json.dumps({**index, "digest": fingerprint(index)}, indent=1))
        for path in (*files, partial / INDEX, partial / LEARNER, partial / OPTIMIZER, partial):
            _sync(path)
        if stored.folder.exists():
            shutil.rmtree(stored.folder)
        partial.rename(stored.folder)
        _sync(self.folder)
        prune(self.folder, self.keep)


def load(checkpoint: Checkpoint, learner: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Puts a checkpoint's weights, and its optimizer's state, back; on several processes, all load together.

    It takes the files for whole: `verify` looks.

    Raises:
        RunError: the weights are those of another network.
    """
    stored = _shapes(checkpoint, LEARNER)
    wanted = dict(named_tensors(learner))
    different = [n for n in stored.keys() | wanted.keys() if n not in wanted or stored.get(n) != wanted[n].shape]
    if different:
        name = min(different)
        here = tuple(wanted[name].shape) if name in wanted else None
        there = tuple(stored[name]) if name in stored else None
        raise RunError(
            f"the checkpoint holds another network: {name} is {there} in it and {here} in the experiment "
            f"({len(different)} such weights)",
            where=str(checkpoint.folder),
            mend="build the experiment that the run's experiment.json describes",
        )
    _fill({name: tensor.detach() for name, tensor in wanted.items()}, checkpoint, LEARNER)
    if optimizer is not None:
        state = empty_optimizer_state(learner, _shapes(checkpoint, OPTIMIZER))
        _fill(state, checkpoint, OPTIMIZER)
        load_optimizer_state(optimizer, learner, state)


def read_tensors(checkpoint: Checkpoint, part: str = LEARNER) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, whole and on the CPU, however many processes wrote them.

    Args:
        checkpoint: to read.
        part: `LEARNER`, for the weights, or `OPTIMIZER`; each tensor has any shape.
    """
    metadata = _metadata(checkpoint, part)
    tensors = {name: torch.empty(stored.size, dtype=stored.properties.dtype) for name, stored in metadata.items()}
    _fill(tensors, checkpoint, part)
    return tensors


def fingerprint_of(checkpoint: Checkpoint) -> str:
    """A fingerprint of all that a checkpoint holds: of its index, in which its files' checksums stand.

    Raises:
        DamageError: the index is missing or not what was written.
    """
    return fingerprint(_index(checkpoint.folder))


def verify(checkpoint: Checkpoint) -> None:
    """Raises `DamageError` where a file is not what was written."""
    for name, digest in _index(checkpoint.folder)["files"].items():
        path = checkpoint.folder / name
        try:
            whole = _digest(path) == digest
        except OSError as error:
            raise _damaged(checkpoint.folder, f"{name} cannot be read: {error.strerror}") from error
        if not whole:
            raise _damaged(checkpoint.folder, f"{name} is not what was written")


def all_complete(folder: Path) -> Iterator[Checkpoint]:
    """The checkpoints below ``folder`` whose index can be read, from older to newer.

    Raises:
        RunError: one was written by a newer didact.
    """
    for path in sorted(folder.glob("step-*")):
        with contextlib.suppress(DamageError):
            yield read(path)


def read(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, by its index alone; `verify` looks at its files.

    Raises:
        DamageError: the index is missing or not what was written.
        RunError: it was written by a newer didact.
    """
    index = _index(folder)
    metrics = index.get("metrics", {})  # the first ones had none
    return Checkpoint(folder=folder, step=index["step"], experiment=index["experiment"], metrics=metrics)


def prune(folder: Path, keep: Retention) -> None:
    """Deletes the checkpoints that are not kept, and what an interrupted write left."""
    for partial in folder.glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
    complete = list(all_complete(folder))
    kept = keep.keeps({checkpoint.step: checkpoint.metrics for checkpoint in complete})
    for checkpoint in complete:
        if checkpoint.step not in kept:
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


def _damaged(folder: Path, what: str) -> DamageError:
    return DamageError(
        f"the checkpoint {folder.name} is damaged: {what}",
        where=str(folder),
        mend="look at the disk that it lies on; where a copy of the folder is left, put it back",
    )


def _new_group() -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, dist.ProcessGroup)  # every process of the run is in it
    return group


def _storage(checkpoint: Checkpoint, part: str) -> Path:
    """The folder with the files of the learner or of the optimizer; of schema 1, one folder with those of both."""
    folder = checkpoint.folder / part
    return folder if folder.exists() else checkpoint.folder


def _shapes(checkpoint: Checkpoint, part: str) -> dict[str, torch.Size]:
    """The whole shape of each stored tensor."""
    return {name: stored.size for name, stored in _metadata(checkpoint, part).items()}


def _metadata(checkpoint: Checkpoint, part: str) -> dict[str, TensorStorageMetadata]:
    """What is known of each stored tensor before it is read."""
    stored = HuggingFaceStorageReader(str(_storage(checkpoint, part))).read_metadata().state_dict_metadata
    # only the optimizer's names have a slash
    of_part = {name: tensor for name, tensor in stored.items() if ("/" in name) == (part == OPTIMIZER)}
    return {name: tensor for name, tensor in of_part.items() if isinstance(tensor, TensorStorageMetadata)}


def _fill(tensors: dict[str, Tensor], checkpoint: Checkpoint, part: str) -> None:
    """Reads into tensors, of which each process gets the shard that it holds."""
    with _one_process_is_fine():
        storage = HuggingFaceStorageReader(str(_storage(checkpoint, part)))
        load_tensors(tensors, storage_reader=storage, no_dist=not dist.is_initialized())


def _on_host(tensor: Tensor) -> Tensor:
    """A copy in the host's memory; of a sharded tensor, of the shard that is here."""
    copied = tensor.detach().to("cpu", copy=True)
    # `DTensor.from_local` would take it back to the mesh's device
    return copied if isinstance(copied, DTensor) else copied.contiguous()


@contextlib.contextmanager
def _one_process_is_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """What the disk refused, out of what torch.distributed wraps it in."""
    try:
        yield
    except CheckpointException as error:
        cause = next(iter(error.failures.values()))[0]
        if isinstance(cause, SafetensorError):
            raise OSError(str(cause)) from error  # it has no class of its own for what the disk refuses
        if isinstance(cause, OSError):
            raise cause from error
        raise


@contextlib.contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
