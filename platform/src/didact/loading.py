"""Loads batches: worker processes read, collate and mask the samples of a source."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import attrs
import numpy as np
import torch
import torch.multiprocessing  # passes tensors between processes in shared memory
from torch import Tensor
from torchdata.nodes import BaseNode, IterableWrapper, Loader, ParallelMapper, PinMemory

from didact.batching import BatchPlan, GlobalBatch
from didact.contracts.data import Samples
from didact.contracts.network import FeatureEncoder, Masker
from didact.errors import DataError, DidactError, RunError, of_field
from didact.experiment import Experiment
from didact.machine.distributed import World
from didact.machine.processes import end_with_parent, server
from didact.randomness import generator, key
from didact.tensors import Batch, BatchMask, Layout, View, pin


@attrs.frozen(kw_only=True, eq=False)
class StepBatch:
    """The data of one optimizer step on this process.

    Attributes:
        step: the step's number, from 0.
        epoch: number of times that every sample was seen before this step.
        parts: this process's share of the global batch, in parts for gradient accumulation.
        samples: number of samples in the whole global batch.
        held: number of positions in this process's share that hold data.
        cells: number of positions in this process's share, padding included.
    """

    step: int
    epoch: int
    parts: tuple[Batch, ...]
    samples: int
    held: int
    cells: int

    def pin_memory(self) -> StepBatch:
        """Returns a copy in page-locked memory; the loader calls this method if the device is a GPU."""
        return attrs.evolve(self, parts=pin(self.parts))


def collate(
    contents: Sequence[Tensor],
    encoder: FeatureEncoder,
    masker: Masker | None = None,
    generators: Sequence[torch.Generator] = (),
    batch_generator: torch.Generator | None = None,
) -> View:
    """Collates samples into a view, for training and for evaluation.

    Args:
        contents: B samples, each (*axes); they may differ in size along the last axis and are padded with zeros there.
        encoder: computes the layouts of the samples.
        masker: draws the masks of the samples; None leaves the view unmasked.
        generators: one generator per sample, for the masker.
        batch_generator: the generator for a masker that equalises counts over these samples.

    Raises:
        DataError: the samples differ in more than their length.
    """
    layouts = [encoder.layout(tuple(content.shape)) for content in contents]
    _require_one_size(contents, layouts)
    sizes = [content.shape[-1] for content in contents]
    padded = [torch.nn.functional.pad(content, (0, max(sizes) - content.shape[-1])) for content in contents]
    content = torch.stack(padded)  # (B, *axes)
    uneven = len(set(sizes)) > 1
    layout = encoder.layout(tuple(content.shape[1:])) if uneven else layouts[0]
    held = torch.tensor([layout.positions for layout in layouts])  # (B,)
    padding = torch.arange(layout.positions) >= held[:, None]  # (B, T)
    mask = None
    if masker is not None:
        with of_field("masker"):
            pairs = zip(layouts, generators, strict=True)
            masks = tuple(masker.sample(layout, generator=generator) for layout, generator in pairs)
        if batch_generator is not None:
            masks = masker.equalize(masks, generator=batch_generator)
        mask = BatchMask.collate(masks, layout.positions)
    lengths, marked = torch.tensor(sizes) if uneven else None, padding if padding.any() else None
    return View(content=content, layout=layout, padding=marked, lengths=lengths, mask=mask)


class Steps:
    """The batches of a run, indexed by step; the source is opened in the process that reads.

    Raises:
        RunError: a batch may have fewer samples than there are processes.
    """

    def __init__(self, experiment: Experiment, plan: BatchPlan, world: World | None = None) -> None:
        self.experiment, self.plan = experiment, plan
        self.world = world if world is not None else World()
        if plan.smallest < self.world.size:
            what = f"a batch of {plan.smallest} samples cannot be shared by {self.world.size} processes"
            raise RunError(what, where="training.batch", hint="enlarge the batch, or start fewer processes")
        self._samples: Samples | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_samples": None}  # an opened store is never sent to another process

    def __getitem__(self, step: int) -> StepBatch:
        batch = self.plan.batch(step)
        total, size, rank = len(batch.samples), self.world.size, self.world.rank
        wanted = math.ceil(self.experiment.training.gradient_accumulation_steps / size)  # parts on this process
        count = max(1, min(wanted, total // size))
        split, own = np.array_split(batch.samples, size * count), range(rank * count, (rank + 1) * count)
        parts = tuple(self._part(batch, split[index].tolist(), index) for index in own)
        views = [view for part in parts for view in part.views]
        cells = sum(view.content.shape[0] * view.layout.positions for view in views)
        held = cells - sum(int(view.padding.sum()) for view in views if view.padding is not None)
        return StepBatch(step=step, epoch=batch.epoch, parts=parts, samples=total, held=held, cells=cells)

    def rehearsal(self) -> Batch:
        """Returns the first sample of the first batch, to check that all parts fit before a run begins."""
        batch = self.plan.batch(0)
        return self._part(batch, batch.samples[:1].tolist(), 0)

    def _part(self, batch: GlobalBatch, ids: list[int], index: int) -> Batch:
        """Builds part number ``index`` of a global batch from the samples ``ids``."""
        if self._samples is None:
            self._samples = self.experiment.source.open()
        seed, step, opened = self.experiment.training.seed, batch.step, self._samples
        length = float(opened.lengths[batch.samples].min()) if self.experiment.source.crops else None
        contents = [opened.views(i, length=length, generator=generator(seed, "view", step, i)) for i in ids]
        views, student = [], set(self.experiment.targets.student_views(len(contents[0])))
        for number, of_view in enumerate(zip(*contents, strict=True)):
            generators = [generator(seed, "mask", number, step, sample) for sample in ids]
            together = generator(seed, "equalise", number, step, index)
            encoder, masker, _ = self.experiment.of_view(number)
            view = collate(of_view, encoder, masker if number in student else None, generators, together)
            keys = torch.tensor([key(seed, "step", number, step, sample) for sample in ids])
            views.append(attrs.evolve(view, keys=keys, student=number in student))
        wanted = self.experiment.targets.fields()
        fields = {name: join([opened.field(sample, name) for sample in ids]) for name in wanted}
        return Batch(views=tuple(views), ids=torch.tensor(ids), key=key(seed, "batch", step), fields=fields)


def join(values: Sequence[Tensor]) -> Tensor:
    """Stacks a field of several samples (*axes), padded with -1 for ids and NaN for numbers: (B, *axes)."""
    sizes = [max(each) for each in zip(*(value.shape for value in values), strict=True)]
    filler = float("nan") if values[0].is_floating_point() else -1
    joined = values[0].new_full((len(values), *sizes), filler)
    for row, value in zip(joined, values, strict=True):
        row[tuple(slice(size) for size in value.shape)] = value
    return joined


def load(
    experiment: Experiment, plan: BatchPlan, first: int, *, pin: bool, world: World | None = None
) -> Iterator[StepBatch]:
    """Yields the run's batches from step ``first`` on, prepared ahead of time by workers; seeking costs nothing.

    ``pin`` puts the batches in page-locked memory, for a GPU. Without a ``world``, this process loads whole batches.

    Raises:
        DidactError: a worker raised this error.
        RunError: a worker was killed.
    """
    steps, num_workers = Steps(experiment, plan, world), experiment.training.num_workers
    with _workers(steps, num_workers) if num_workers else contextlib.nullcontext(steps.__getitem__) as make:

        def reported(step: int) -> StepBatch | DidactError:
            """Returns a `DidactError` as a value; a raised error would arrive as a string in a traceback."""
            try:
                return make(step)
            except DidactError as error:
                return error

        # one thread waits for each worker process; batches are yielded in the order of their steps
        node: BaseNode[Any] = IterableWrapper(range(first, experiment.training.steps))
        node = ParallelMapper(node, reported, num_workers=num_workers, in_order=True, method="thread")
        if pin:
            node = PinMemory(node)
        try:
            for batch in Loader(node, restart_on_stop_iteration=False):
                if isinstance(batch, DidactError):
                    raise batch
                yield batch
        except (BrokenProcessPool, ConnectionError, EOFError) as error:  # perhaps while a tensor was transferred
            what = f"a process that loads data ended: {str(error).strip().rpartition(chr(10))[2] or 'it was killed'}"
            hint = "memory may have run out: use fewer workers or a smaller batch, or num_workers=0 to see the cause"
            raise RunError(what, where="training.num_workers", hint=hint) from error


@contextlib.contextmanager
def _workers(steps: Steps, count: int) -> Iterator[Callable[[int], StepBatch]]:
    """Starts a standard-library pool of worker processes; yields a function that makes the batch of a step.

    If a worker is killed, the pool breaks, and every pending call raises an error at once.
    """
    _allow_many_files()
    fields = (getattr(steps.experiment, name) for name in ("source", "encoder", "masker", "targets"))
    parts = [part for field in fields for part in (field if isinstance(field, tuple) else (field,))]
    modules = {type(part).__module__ for part in parts if part is not None}  # imported once for all workers
    context = server(__name__, *modules)  # not forked from this process, whose threads could leave the fork deadlocked
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(dict(os.environ), steps))
    try:
        yield lambda step: pool.submit(_make, step).result()
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()  # its batch is no longer needed


_steps: Steps | None = None  # set in worker processes


def _begin(environment: dict[str, str], steps: Steps) -> None:
    """Prepares a worker process."""
    global _steps
    end_with_parent(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal signals all processes; the run's own handles them
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()  # children of the fork server have the environment in which the server started
    os.environ.update(environment)
    torch.set_num_threads(1)
    _allow_many_files()
    _steps = steps


def _make(step: int) -> StepBatch:
    assert _steps is not None  # set by `_begin`
    return _steps[step]


def _allow_many_files() -> None:
    """Raises the soft limit of open files: each tensor from a worker keeps a file open until the tensor is freed.

    A batch of many parts exceeds the usual 1024; PyTorch then fails with "received 0 items of ancdata".
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # the system does not allow it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _require_one_size(contents: Sequence[Tensor], layouts: Sequence[Layout]) -> None:
    """Raises a `DataError` if samples differ in more than the length of a sequence."""
    pairs = zip(contents, layouts, strict=True)
    sizes = [(content.shape[:-1], layout if len(layout.shape) > 1 else None) for content, layout in pairs]
    other = next((index for index, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        shapes = [(contents[index].shape, layouts[index].shape) for index in (0, other)]
        both = [f"{' × '.join(map(str, size))} ({' × '.join(map(str, shape))} positions)" for size, shape in shapes]
        what = (
            f"samples of {both[0]} and of {both[1]} cannot share a batch: padding fills up the end of a sequence alone"
        )
        hint = "have the source give all samples one size, by cropping or resizing, or use batches of one"
        raise DataError(what, where=f"source, samples 0 and {other} of a batch", hint=hint)
