"""A bundle: one step, frozen with all that it follows from, to be run again and looked at.

BUNDLE/bundle.json          the experiment, the step, what was found; written last, with the checksum of the batch
BUNDLE/batch.safetensors    the batch's tensors, under the names that bundle.json puts in their places
BUNDLE/state/step-…/        a checkpoint of the step before: weights, teacher, optimizer

No file holds code. A bundle is complete or absent, as a checkpoint is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from didact.errors import RunError
from didact.loading import StepBatch
from didact.machine.disk import writing
from didact.machine.distributed import World
from didact.record import checkpoint
from didact.record.checkpoint import Checkpoint
from didact.retention import Retention
from didact.spec import fingerprint
from didact.tensors import Batch, BatchMask, Layout, View

SCHEMA = 1
INDEX, BATCH, STATE = "bundle.json", "batch.safetensors", "state"

CLASSES: dict[str, type] = {cls.__name__: cls for cls in (StepBatch, Batch, View, BatchMask, Layout)}


@attrs.frozen(kw_only=True, eq=False)
class Bundle:
    """A step that can be run again.

    Attributes:
        folder: that holds it.
        step: its number, from 1, as metrics count.
        experiment: as plain data.
        state: a checkpoint of what the step found.
        batch: what it learned from.
        totals: what the objective counted over the whole global batch.
        precision: in which the run computed, such as ``bfloat16``.
        rank: of the process whose share of the batch it is.
        finding: what was found then, in words.
        names: of the samples, in the order of the batch; empty where the source could not tell.
    """

    folder: Path
    step: int
    experiment: Any
    state: Checkpoint
    batch: StepBatch
    totals: Mapping[str, int]
    precision: str
    rank: int
    finding: str
    names: tuple[str, ...] = ()


def write_bundle(
    folder: Path,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: StepBatch,
    *,
    experiment: Any,
    totals: Mapping[str, int],
    precision: torch.dtype,
    world: World,
    rank: int = 0,
    finding: str,
    names: tuple[str, ...],
) -> None:
    """Writes a bundle, whole or not at all; all processes write together.

    Args:
        folder: of the bundle; replaced where there is one.
        learner: as the step found it.
        optimizer: likewise.
        batch: of the step.
        experiment: as plain data.
        totals: what the objective counts over the whole global batch.
        precision: in which the step was computed.
        world: the processes of the run.
        rank: of the process whose share the batch is.
        finding: what is wrong with it, in words.
        names: of the samples.

    Raises:
        RunError: it cannot be written; nothing is left of it.
    """
    final, partial = folder, folder.with_name(f".partial-{folder.name}")
    try:
        with writing("the bundle of a step to be replayed", final):
            if world.main:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            with closing(checkpoint.Writer(partial / STATE, Retention(last=1), world)) as writer:
                writer.begin(learner, optimizer, batch.step, experiment)
                writer.completed(wait=True)
            if not world.main:
                return
            tensors: dict[str, Tensor] = {}
            index = {
                "schema": SCHEMA,
                "step": batch.step + 1,
                "finding": finding,
                "precision": str(precision).removeprefix("torch."),
                "rank": rank,
                "totals": dict(totals),
                "names": list(names),
                "batch": _to_data(batch, "batch", tensors),
                "experiment": experiment,
            }
            _write(partial, tensors, index)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
    except RunError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder.

    Raises:
        RunError: there is none, it is damaged, or it was written by a newer didact.
    """
    if not (folder / INDEX).is_file():
        raise RunError(
            "there is no bundle in this folder",
            where=str(folder),
            mend="a bundle has a bundle.json; those of a run lie in its folder `bundles`",
        )
    try:
        index = json.loads((folder / INDEX).read_bytes())
        digest = index.pop("digest")
        data = (folder / BATCH).read_bytes()
        whole = digest == fingerprint(index) and hashlib.sha256(data).hexdigest() == index["files"][BATCH]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise RunError(
            "the bundle is damaged: it is not what was written", where=str(folder), mend="there is no way to mend it"
        )
    if index["schema"] > SCHEMA:
        raise RunError(
            f"the bundle has schema {index['schema']}, and this didact reads up to {SCHEMA}",
            where=str(folder),
            mend="update didact",
        )
    state = checkpoint.read(folder / STATE / f"step-{index['step'] - 1:08d}")
    checkpoint.verify(state)
    return Bundle(
        folder=folder,
        step=index["step"],
        experiment=index["experiment"],
        state=state,
        batch=_from_data(index["batch"], load(data)),
        totals=index["totals"],
        precision=index["precision"],
        rank=index["rank"],
        finding=index["finding"],
        names=tuple(index["names"]),
    )


def sample_alone(batch: Batch, index: int) -> Batch:
    """One sample of a batch as a batch of its own, behind the same masks.

    Args:
        batch: of B samples.
        index: which of them.
    """
    views = []
    for view in batch.views:
        mask = None if view.mask is None else _mask_alone(view.mask, index, view.layout.positions)
        views.append(
            View(
                content=view.content[index : index + 1],
                layout=view.layout,
                padding=_rows(view.padding, index),
                lengths=_rows(view.lengths, index),
                mask=mask,
                keys=_rows(view.keys, index),
            )
        )
    return Batch(views=tuple(views), ids=batch.ids[index : index + 1])


def _mask_alone(mask: BatchMask, index: int, positions: int) -> BatchMask:
    def within(places: Tensor, size: int) -> Tensor:
        own = places[(places >= index * size) & (places < (index + 1) * size)]
        return own - index * size

    return BatchMask(
        predicted=mask.predicted[index : index + 1],
        hidden=_rows(mask.hidden, index),
        replaced=_rows(mask.replaced, index),
        replacement=_rows(mask.replacement, index),
        visible=_rows(mask.visible, index, mask.masks),
        visible_padding=_rows(mask.visible_padding, index, mask.masks),
        targets=within(mask.targets, positions),
        predictions=within(mask.predictions, mask.masks * positions),
    )


def _rows(values: Tensor | None, index: int, per_sample: int = 1) -> Tensor | None:
    """A sample's rows of a tensor (B, …) or (B·M, …)."""
    return None if values is None else values[index * per_sample : (index + 1) * per_sample]


def _write(folder: Path, tensors: dict[str, Tensor], index: dict[str, Any]) -> None:
    """The batch's tensors, of any shape, and the index with their checksum and its own; through to the disk."""
    try:
        save_file(tensors, folder / BATCH)
    except SafetensorError as error:
        raise OSError(str(error)) from error  # it has no class of its own for what the disk refuses
    index["files"] = {BATCH: hashlib.sha256((folder / BATCH).read_bytes()).hexdigest()}
    (folder / INDEX).write_text(json.dumps({**index, "digest": fingerprint(index)}, indent=1))
    for name in (BATCH, INDEX):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())


def _to_data(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """A value of the contracts as plain data, in which tensors (of any shape) are named; they go to ``tensors``."""
    if isinstance(value, Tensor):
        tensors[place] = value.detach().cpu().clone().contiguous()  # safetensors refuses memory that two share
        return {"tensor": place}
    if isinstance(value, tuple):
        return [_to_data(item, f"{place}.{number}", tensors) for number, item in enumerate(value)]
    if type(value).__name__ in CLASSES:
        fields = {
            field.name: _to_data(getattr(value, field.name), f"{place}.{field.name}", tensors)
            for field in attrs.fields(type(value))
        }
        return {"class": type(value).__name__, "fields": fields}
    assert value is None or isinstance(value, (int, float, str)), f"{place} holds a {type(value).__name__}"
    return value


def _from_data(data: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(data, Mapping) and "tensor" in data:
        return tensors[data["tensor"]]
    if isinstance(data, Mapping):
        fields = {name: _from_data(value, tensors) for name, value in data["fields"].items()}
        return CLASSES[data["class"]](**fields)
    if isinstance(data, list):
        return tuple(_from_data(item, tensors) for item in data)
    return data
