"""A bundle: one failed step, with everything that is needed to run it again.

BUNDLE/bundle.json          the experiment, the step and the finding; written last, with the checksum of the batch
BUNDLE/batch.safetensors    the batch's tensors, by the names that bundle.json uses for them
BUNDLE/state/step-…/        a checkpoint from before the step: weights, teacher, optimizer

The files contain no code. Like a checkpoint, a bundle is either complete or absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from didact import Batch, BatchMask, RunError, StepFailure, View
from didact.machine.disk import writing
from didact.machine.distributed import World
from didact.plugins import registry
from didact.record import checkpoint
from didact.record.checkpoint import Checkpoint
from didact.serialization import fingerprint

SCHEMA = 2
INDEX, BATCH, STATE = "bundle.json", "batch.safetensors", "state"


@attrs.frozen(kw_only=True, eq=False)
class Bundle:
    """A step that can be run again.

    Attributes:
        step: the step's number, from 1.
        experiment: the experiment as plain data.
        state: a checkpoint from before the step.
        parts: one process's share of the batch, split for gradient accumulation.
        num_targets: the number of targets of each loss term, over the whole global batch.
        precision: the precision of the run's matrix products, such as ``bfloat16``.
        rank: the rank of the process whose share of the batch this is.
        finding: the finding of the failed step, as text.
        names: the names of the samples, in the order of the batch; empty if the source could not give them.
    """

    step: int
    experiment: Any
    state: Checkpoint
    parts: tuple[Batch, ...]
    num_targets: Mapping[str, int]
    precision: str
    rank: int
    finding: str
    names: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """The indices of the samples in their source, in the order of the batch."""
        return ids_of(self.parts)


def write_bundle(
    folder: Path, failure: StepFailure, *, world: World, rank: int = 0, finding: str = "", names: tuple[str, ...] = ()
) -> None:
    """Writes a bundle completely or not at all; all processes call this function together.

    Args:
        folder: the folder of the bundle; an existing bundle is replaced.
        failure: the failed step, with the share of the batch to save.
        world: the processes of the run.
        rank: the rank of the process whose share of the batch is saved.
        finding: the reason of the failure, as text.
        names: the names of the samples.

    Raises:
        RunError: the bundle cannot be written; no part of it remains.
    """
    partial, experiment = folder.with_name(f".partial-{folder.name}"), registry().data_of(failure.experiment)
    try:
        with writing("the bundle of a step", folder):
            if world.main:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            with closing(checkpoint.Writer(partial / STATE, world)) as writer:
                writer.begin(failure.learner, failure.optimizer, failure.step - 1, experiment)
                writer.finish()
            if not world.main:
                return
            tensors: dict[str, Tensor] = {}
            index = {
                "schema": SCHEMA,
                "step": failure.step,
                "experiment": experiment,
                "parts": _converter(tensors).unstructure(failure.parts),
                "num_targets": dict(failure.num_targets),
                "precision": str(failure.precision).removeprefix("torch."),
                "rank": rank,
                "finding": finding,
                "names": list(names),
            }
            _write(partial, tensors, index)
            if folder.exists():
                shutil.rmtree(folder)
            partial.rename(folder)
    except RunError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def read_bundle(folder: Path) -> Bundle:
    """Reads the bundle in a folder.

    Raises:
        RunError: the bundle does not exist, is damaged, or was written by another version.
    """
    if not (folder / INDEX).is_file():
        raise RunError(
            "there is no bundle in this folder",
            where=str(folder),
            hint="a bundle has a bundle.json; those of a run are in its folder `bundles`",
        )
    try:
        index = json.loads((folder / INDEX).read_bytes())
        digest, schema = index.pop("digest"), index.pop("schema")
        data = (folder / BATCH).read_bytes()
        whole = digest == fingerprint(index | {"schema": schema})
        whole &= hashlib.sha256(data).hexdigest() == index.pop("files")[BATCH]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise RunError(
            "the bundle is damaged: it is not what was written",
            where=str(folder),
            hint="restore a copy of it, or let the run fail again",
        )
    if schema != SCHEMA:
        raise RunError(
            f"the bundle has schema {schema}, and this version of didact-doctor reads {SCHEMA}",
            where=str(folder),
            hint="replay it with the version that wrote it",
        )
    state = checkpoint.read(folder / STATE / f"step-{index['step'] - 1:08d}")
    checkpoint.verify(state)
    parts = _converter(load(data)).structure(index.pop("parts"), tuple[Batch, ...])
    return Bundle(**index | {"state": state, "parts": parts, "names": tuple(index["names"])})


def ids_of(parts: tuple[Batch, ...]) -> tuple[int, ...]:
    """The ids of the samples in several batches, in order."""
    return tuple(int(index) for part in parts for index in part.ids)


def sample_alone(batch: Batch, index: int) -> Batch:
    """Extracts one sample of a batch as its own batch, with the same masks.

    Args:
        batch: a batch of B samples.
        index: the index of the sample.
    """
    count = len(batch.ids)

    def rows(values: Tensor) -> Tensor:  # (B·k, …) -> (k, …)
        size = len(values) // count
        return values[index * size : (index + 1) * size]

    def alone(view: View) -> View:
        mask, positions = view.mask, view.layout.positions
        if mask is not None:
            mask = attrs.evolve(
                _each_tensor(mask, rows),
                target_indices=_within(mask.target_indices, index, positions),
                mask_indices=_within(mask.mask_indices, index, mask.masks * positions),
                row_indices=_within(mask.row_indices, index, mask.contexts * positions),
                longest=int(rows(mask.predicted).sum(-1).max()),
            )
        return attrs.evolve(_each_tensor(view, rows), mask=mask)

    fields = {name: rows(values) for name, values in batch.fields.items()}
    return attrs.evolve(batch, views=tuple(map(alone, batch.views)), ids=rows(batch.ids), fields=fields)


Tensors = TypeVar("Tensors", View, BatchMask)


def _each_tensor(value: Tensors, change: Callable[[Tensor], Tensor]) -> Tensors:
    fields = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    changed: dict[str, Any] = {name: change(held) for name, held in fields.items() if isinstance(held, Tensor)}
    return attrs.evolve(value, **changed)


def _within(places: Tensor, index: int, size: int) -> Tensor:
    """Selects the indices (N,) that fall into one sample of the concatenated batch, relative to the sample's start."""
    return places[(places >= index * size) & (places < (index + 1) * size)] - index * size


def _write(folder: Path, tensors: dict[str, Tensor], index: dict[str, Any]) -> None:
    """Writes the batch's tensors, of any shape, and the index with both digests; syncs both to the disk."""
    try:
        save_file(tensors, folder / BATCH)
    except SafetensorError as error:
        raise OSError(str(error)) from error  # safetensors has no exception class for disk errors
    index["files"] = {BATCH: hashlib.sha256((folder / BATCH).read_bytes()).hexdigest()}
    (folder / INDEX).write_text(json.dumps({**index, "digest": fingerprint(index)}, indent=1))
    for name in (BATCH, INDEX):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())


def _converter(tensors: dict[str, Tensor]) -> cattrs.Converter:
    """Converts batches to plain data and back; their tensors, of any shape, are stored in ``tensors`` by name."""

    def store(tensor: Tensor) -> str:
        name = f"tensor-{len(tensors)}"
        tensors[name] = tensor.detach().cpu().clone().contiguous()  # safetensors refuses shared memory
        return name

    converter = cattrs.Converter()
    converter.register_unstructure_hook(Tensor, store)
    converter.register_structure_hook(Tensor, lambda name, _: tensors[name])
    return converter
