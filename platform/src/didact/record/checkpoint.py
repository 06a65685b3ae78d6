"""Checkpoints: written in the background, complete or absent, and free of code.

A checkpoint is a folder of safetensors files, written by `torch.distributed.checkpoint`, and a JSON file, written last,
with their checksums. Each process writes the tensors that it holds; any number of processes can read them back. The
order of samples, the masks and the dropout depend only on the step, so they need no storage.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
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
from didact.learner import differences, named_tensors
from didact.machine.disk import digest, write_text, writing
from didact.machine.distributed import PATIENCE, World
from didact.optimization import named_optimizer_state, prepare_optimizer_state
from didact.serialization import fingerprint

Keeps = Callable[[Collection[int]], Collection[int]]
SCHEMA = 3
INDEX = "checkpoint.json"
LEARNER, OPTIMIZER = "learner", "optimizer"


class DamageError(RunError):
    """A checkpoint on disk differs from what was written: a file is missing, truncated or changed."""


@attrs.frozen(kw_only=True)
class Checkpoint:
    """A complete checkpoint on disk.

    Attributes:
        folder: the checkpoint's folder.
        step: number of optimizer steps taken.
        experiment: the experiment as plain data.
    """

    folder: Path
    step: int
    experiment: Any


class Writer:
    """Writes a run's checkpoints, one at a time, to a folder that all processes share, while training continues.

    All processes of the run must call ``begin`` and ``close`` together.

    ``keeps`` returns the steps of the checkpoints to keep, given the steps of all. ``written`` is called with each
    complete checkpoint, in ``begin``, ``finish`` or ``prune``.
    """

    def __init__(
        self, folder: Path, world: World, keeps: Keeps = set, written: Callable[[Checkpoint], None] = lambda _: None
    ) -> None:
        self.folder, self.world, self.keeps, self.written = folder, world, keeps, written
        # a separate group, because its collectives overlap those of the step
        self._group: Any = dist.new_group(backend="gloo", timeout=PATIENCE) if world.size > 1 else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._begun: Future[Checkpoint] | None = None

    def begin(self, learner: nn.Module, optimizer: torch.optim.Optimizer, step: int, experiment: Any) -> None:
        """Copies the state and starts to write it; waits for the previous checkpoint if it is not complete.

        ``experiment`` is plain data.

        Raises:
            RunError: the previous checkpoint could not be written.
        """
        self.finish()
        staged = {
            LEARNER: {name: _on_host(tensor) for name, tensor in named_tensors(learner)},
            OPTIMIZER: {name: _on_host(tensor) for name, tensor in named_optimizer_state(optimizer, learner)},
        }
        stored = Checkpoint(folder=self.folder / f"step-{step:08d}", step=step, experiment=experiment)
        self._begun = self._thread.submit(self._write, staged, stored)

    def finish(self, *, wait: bool = True) -> None:
        """Waits for the checkpoint that is being written, if any; without ``wait``, only looks whether it is complete.

        Raises:
            RunError: the checkpoint could not be written (for example, the disk is full); earlier ones are unchanged.
        """
        if self._begun is not None and (wait or self._begun.done()):
            begun, self._begun = self._begun, None
            self.written(begun.result())

    def prune(self) -> None:
        """Waits as `finish` does, and deletes checkpoints that are not to be kept; only the main process deletes."""
        self.finish()
        if self.world.main:
            prune(self.folder, self.keeps)

    def close(self) -> None:
        """Waits for the checkpoint that is being written; errors are dropped."""
        self._thread.shutdown()

    def _write(self, staged: Mapping[str, dict[str, Tensor]], stored: Checkpoint) -> Checkpoint:
        """Writes a checkpoint, which appears in the folder complete or not at all."""
        partial = self.folder / f".partial-{stored.step:08d}"
        hint = "free some space and resume: the checkpoint before it is whole"
        with writing(f"the checkpoint of step {stored.step}", stored.folder, hint=hint):
            try:
                if self.world.main:
                    shutil.rmtree(partial, ignore_errors=True)
                    partial.mkdir(parents=True)
                for name, tensors in staged.items():
                    self._save(tensors, partial / name)
                if self.world.main:  # all processes have written
                    self._complete(partial, stored)
            except OSError:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        return stored

    def _save(self, tensors: dict[str, Tensor], folder: Path) -> None:
        if self._group is not None:
            dist.barrier(self._group)  # wait until the main process has made the folder
        storage = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        storage.per_thread_copy_ahead = 0  # all tensors are on the host, so no GPU stream is needed
        try:
            with _one_process_is_fine():
                save_tensors(tensors, storage_writer=storage, process_group=self._group, no_dist=self._group is None)
        except CheckpointException as error:
            cause = next(iter(error.failures.values()))[0]
            if isinstance(cause, SafetensorError):
                raise OSError(str(cause)) from error  # safetensors has no error class for disk errors
            raise cause if isinstance(cause, OSError) else error from error

    def _complete(self, partial: Path, stored: Checkpoint) -> None:
        files = [path for path in sorted(partial.rglob("*")) if path.is_file()]
        digests = {str(path.relative_to(partial)): digest(path) for path in files}
        index = {"schema": SCHEMA, "step": stored.step, "experiment": stored.experiment, "files": digests}
        write_text(partial / INDEX, json.dumps({**index, "digest": fingerprint(index)}, indent=1))
        for path in (*files, partial / INDEX, partial / LEARNER, partial / OPTIMIZER, partial):
            _sync(path)
        if stored.folder.exists():  # of the same step; kept until the new one replaces it
            stored.folder.rename(partial.with_name(f".replaced-{stored.folder.name}"))
        partial.rename(stored.folder)
        _sync(self.folder)
        prune(self.folder, self.keeps)


def load(checkpoint: Checkpoint, learner: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Restores a checkpoint's weights and its optimizer's state; all processes must call this together.

    The files are not verified; use `verify`.

    Raises:
        RunError: the checkpoint holds another network.
    """
    tensors = {name: tensor.detach() for name, tensor in named_tensors(learner)}
    theirs = {name: tuple(stored.size) for name, stored in _metadata(checkpoint, LEARNER).items()}
    if different := differences(theirs, {name: tuple(tensor.shape) for name, tensor in tensors.items()}):
        what = f"the checkpoint holds another network: {different}"
        hint = "build the experiment that the run's experiment.json describes"
        raise RunError(what, where=str(checkpoint.folder), hint=hint)
    _fill(tensors, checkpoint, LEARNER)
    if optimizer is not None:
        stored = _metadata(checkpoint, OPTIMIZER).items()
        like = {name: torch.empty(one.size, dtype=one.properties.dtype, device="meta") for name, one in stored}
        _fill(prepare_optimizer_state(optimizer, learner, like), checkpoint, OPTIMIZER)


def read_tensors(checkpoint: Checkpoint, part: str = LEARNER) -> dict[str, Tensor]:
    """Reads all tensors of a checkpoint's part, `LEARNER` (the weights) or `OPTIMIZER`, by name: whole, on the CPU."""
    metadata = _metadata(checkpoint, part)
    tensors = {name: torch.empty(stored.size, dtype=stored.properties.dtype) for name, stored in metadata.items()}
    _fill(tensors, checkpoint, part)
    return tensors


def fingerprint_of(checkpoint: Checkpoint) -> str:
    """Returns a fingerprint of a checkpoint from its files' checksums."""
    return fingerprint(_index(checkpoint.folder))


def verify(checkpoint: Checkpoint) -> None:
    """Raises a `DamageError` if a file differs from what was written."""
    for name, expected in _index(checkpoint.folder)["files"].items():
        try:
            whole = digest(checkpoint.folder / name) == expected
        except OSError as error:
            raise _damaged(checkpoint.folder, f"{name} cannot be read: {error.strerror}") from error
        if not whole:
            raise _damaged(checkpoint.folder, f"{name} is not what was written")


def of_step(folder: Path, step: int | None = None) -> Checkpoint:
    """Returns the checkpoint of a step, or the newest, from its index alone; raises a `RunError` if there is none."""
    stored = {one.step: one for one in all_complete(folder)}
    if not stored:
        what = f"the run in {folder.parent} has no checkpoint yet"
        raise RunError(what, where=str(folder), hint="wait for its first one")
    if step is not None and step not in stored:
        hint = f"use one of {', '.join(map(str, stored))}"
        raise RunError(f"{folder.parent} has no checkpoint of step {step}", where=str(folder), hint=hint)
    return stored[max(stored) if step is None else step]


def newest_whole(folder: Path) -> tuple[Checkpoint | None, list[DamageError]]:
    """Returns the newest undamaged checkpoint in ``folder``, if any, and the errors of newer, damaged checkpoints."""
    damaged: list[DamageError] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            stored = read(path)
            verify(stored)
        except DamageError as error:
            damaged.append(error)
        else:
            return stored, damaged
    return None, damaged


def all_complete(folder: Path) -> Iterator[Checkpoint]:
    """Yields the checkpoints in ``folder`` whose index can be read, from older to newer."""
    for path in sorted(folder.glob("step-*")):
        with contextlib.suppress(DamageError):
            yield read(path)


def read(folder: Path) -> Checkpoint:
    """Reads the checkpoint in a folder from its index alone; `verify` checks the files.

    Raises:
        DamageError: the index is missing or differs from what was written.
        RunError: the checkpoint was written by another version of didact.
    """
    index = _index(folder)
    return Checkpoint(folder=folder, step=index["step"], experiment=index["experiment"])


def prune(folder: Path, keeps: Keeps) -> None:
    """Deletes checkpoints that are not to be kept, and remains of interrupted writes."""
    for left in (*folder.glob(".partial-*"), *folder.glob(".replaced-*")):
        shutil.rmtree(left, ignore_errors=True)
    complete = {checkpoint.step: checkpoint.folder for checkpoint in all_complete(folder)}
    for step in complete.keys() - set(keeps(complete.keys())):
        shutil.rmtree(complete[step])


def _index(folder: Path) -> dict[str, Any]:
    """Reads a checkpoint's index and checks it against its digest."""
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_bytes())
        schema, stored = index["schema"], index.pop("digest", None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, f"{INDEX} cannot be read: {error}") from error
    if isinstance(schema, int) and schema != SCHEMA and stored in (None, fingerprint(index)):
        hint = "update didact" if schema > SCHEMA else "resume the run with the version of didact that wrote it"
        what = f"the checkpoint has schema {schema}, and this didact reads schema {SCHEMA}"
        raise RunError(what, where=str(folder), hint=hint)
    if stored != fingerprint(index):
        raise _damaged(folder, f"{INDEX} is not what was written")
    return index


def _damaged(folder: Path, what: str) -> DamageError:
    hint = "check the disk; where a copy of the folder is left, restore it"
    return DamageError(f"the checkpoint {folder.name} is damaged: {what}", where=str(folder), hint=hint)


def _metadata(checkpoint: Checkpoint, part: str) -> dict[str, TensorStorageMetadata]:
    stored = HuggingFaceStorageReader(str(checkpoint.folder / part)).read_metadata().state_dict_metadata
    return {name: tensor for name, tensor in stored.items() if isinstance(tensor, TensorStorageMetadata)}


def _fill(tensors: dict[str, Tensor], checkpoint: Checkpoint, part: str) -> None:
    """Reads a checkpoint into tensors; each process reads the shard that it holds."""
    with _one_process_is_fine():
        storage = HuggingFaceStorageReader(str(checkpoint.folder / part))
        load_tensors(tensors, storage_reader=storage, no_dist=not dist.is_initialized())


def _on_host(tensor: Tensor) -> Tensor:
    """Copies a tensor to the host's memory; of a sharded tensor, only this process's shard."""
    copied = tensor.detach().to("cpu", copy=True)
    # `DTensor.from_local` would move it back to the mesh's device
    return copied if isinstance(copied, DTensor) else copied.contiguous()


@contextlib.contextmanager
def _one_process_is_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
