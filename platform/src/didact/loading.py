"""From a source's samples to a batch: collated, laid out and masked in the loader's workers."""

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
import torch
import torch.multiprocessing  # has tensors cross processes in shared memory
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
    """What one optimizer step learns from on this process.

    Attributes:
        step: its number, from 0.
        epoch: number of times that every sample was seen before.
        parts: this process's share of the global batch, in parts for gradient accumulation.
        samples: of the whole global batch.
        held: positions of this process's share that hold data.
        cells: positions of this process's share, padding included.
    """

    step: int
    epoch: int
    parts: tuple[Batch, ...]
    samples: int
    held: int
    cells: int

    def pin_memory(self) -> StepBatch:
        """In page-locked memory; the loader calls it where the device is a GPU."""
        return attrs.evolve(self, parts=pin(self.parts))


def collate(
    contents: Sequence[Tensor],
    encoder: FeatureEncoder,
    masker: Masker | None = None,
    generators: Sequence[torch.Generator] = (),
    batch_generator: torch.Generator | None = None,
) -> View:
    """Joins samples to a view, for training and for evaluation alike.

    Args:
        contents: B samples, each (*axes); they may differ in size along the last axis and are padded with zeros there.
        encoder: gives their layouts.
        masker: draws their masks; None leaves the view whole.
        generators: one for each sample, for the masker.
        batch_generator: for a masker that equalises counts over these samples.

    Raises:
        DataError: the samples differ in more than their length.
    """
    layouts = [encoder.layout(tuple(content.shape)) for content in contents]
    _require_one_size(contents, layouts)
    sizes = [content.shape[-1] for content in contents]
    padded = [torch.nn.functional.pad(content, (0, max(sizes) - content.shape[-1])) for content in contents]
    content = torch.stack(padded)  # (B, *axes)
    layout = encoder.layout(tuple(content.shape[1:])) if len(set(sizes)) > 1 else layouts[0]
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
    uneven = bool(padding.any()) or len(set(sizes)) > 1
    return View(
        content=content,
        layout=layout,
        padding=padding if padding.any() else None,
        lengths=torch.tensor(sizes) if uneven else None,
        mask=mask,
    )


class Steps:
    """The batches of a run by the number of their step; opens its source in the process that reads.

    Raises:
        RunError: a batch may have fewer samples than there are processes.
    """

    def __init__(self, experiment: Experiment, plan: BatchPlan, world: World | None = None) -> None:
        self.experiment = experiment
        self.plan = plan
        self.world = world if world is not None else World()
        if plan.smallest < self.world.size:
            raise RunError(
                f"a batch of {plan.smallest} samples cannot be shared by {self.world.size} processes",
                where="training.batch",
                hint="enlarge the batch, or start fewer processes",
            )
        self._samples: Samples | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_samples": None}  # an opened store never crosses a process

    def __getitem__(self, step: int) -> StepBatch:
        batch = self.plan.batch(step)
        size, rank = self.world.size, self.world.rank
        wanted = math.ceil(self.experiment.training.gradient_accumulation_steps / size)  # of this process
        count = max(1, min(wanted, len(batch.samples) // size))
        own = range(rank * count, (rank + 1) * count)
        parts = tuple(self._part(batch, batch.part(index, size * count).tolist(), index) for index in own)
        views = [view for part in parts for view in part.views]
        cells = sum(view.content.shape[0] * view.layout.positions for view in views)
        return StepBatch(
            step=step,
            epoch=batch.epoch,
            parts=parts,
            samples=len(batch.samples),
            held=cells - sum(int(view.padding.sum()) for view in views if view.padding is not None),
            cells=cells,
        )

    def rehearsal(self) -> Batch:
        """The first sample of the first batch alone, to see that everything fits before a run begins."""
        batch = self.plan.batch(0)
        return self._part(batch, batch.samples[:1].tolist(), 0)

    def _part(self, batch: GlobalBatch, ids: list[int], index: int) -> Batch:
        """Some samples of a global batch, of which they are part number ``index``."""
        if self._samples is None:
            self._samples = self.experiment.source.open()
        seed, step, opened = self.experiment.training.seed, batch.step, self._samples
        length = batch.length if self.experiment.source.crops else None
        contents = [opened.views(i, length=length, generator=generator(seed, "view", step, i)) for i in ids]
        views = []
        for number, of_view in enumerate(zip(*contents, strict=True)):
            generators = [generator(seed, "mask", number, step, sample) for sample in ids]
            together = generator(seed, "equalise", number, step, index)
            view = collate(of_view, self.experiment.encoder, self.experiment.masker, generators, together)
            keys = torch.tensor([key(seed, "step", number, step, sample) for sample in ids])
            views.append(attrs.evolve(view, keys=keys))
        return Batch(views=tuple(views), ids=torch.tensor(ids))


def load(
    experiment: Experiment, plan: BatchPlan, first: int, *, pin: bool, world: World | None = None
) -> Iterator[StepBatch]:
    """The run's batches from step ``first`` on, prepared ahead of time by workers; seeking costs nothing.

    ``pin`` puts them in page-locked memory, for a GPU. Without a ``world``, this process has each batch alone.

    Raises:
        DidactError: what a worker found, as it found it.
        RunError: a worker was killed.
    """
    steps, num_workers = Steps(experiment, plan, world), experiment.training.num_workers
    with _workers(steps, num_workers) if num_workers else contextlib.nullcontext(steps.__getitem__) as make:

        def reported(step: int) -> StepBatch | DidactError:
            """Returns a `DidactError` as a value: raised, it would arrive as a string in a traceback."""
            try:
                return make(step)
            except DidactError as error:
                return error

        # one thread waits for each worker process; they hand over the batches in the order of their steps
        node: BaseNode[Any] = IterableWrapper(range(first, experiment.training.steps))
        node = ParallelMapper(node, reported, num_workers=num_workers, in_order=True, method="thread")
        if pin:
            node = PinMemory(node)
        try:
            for batch in Loader(node, restart_on_stop_iteration=False):
                if isinstance(batch, DidactError):
                    raise batch
                yield batch
        except (BrokenProcessPool, ConnectionError, EOFError) as error:  # perhaps while a tensor was handed over
            raise RunError(
                f"a process that loads data ended: {str(error).strip().rpartition(chr(10))[2] or 'it was killed'}",
                where="training.num_workers",
                hint="memory may have run out: use fewer workers or a smaller batch, or num_workers=0 to see the cause",
            ) from error


@contextlib.contextmanager
def _workers(steps: Steps, count: int) -> Iterator[Callable[[int], StepBatch]]:
    """Processes that make the batches of steps, a standard library pool; gives what makes the batch of a step.

    A process that is killed breaks the pool, which every caller learns at once.
    """
    _allow_many_files()
    parts = (steps.experiment.source, steps.experiment.encoder, steps.experiment.masker)
    modules = {type(part).__module__ for part in parts if part is not None}  # so that one import serves all workers
    pool = ProcessPoolExecutor(
        count,
        # not by a fork of this process, whose threads may leave it deadlocked
        mp_context=server(__name__, *modules),
        initializer=_begin,
        initargs=(dict(os.environ), steps),
    )
    try:
        yield lambda step: pool.submit(_make, step).result()
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()  # what it is making is not wanted any more


_steps: Steps | None = None  # of a worker process


def _begin(environment: dict[str, str], steps: Steps) -> None:
    """Prepares a worker process."""
    global _steps
    end_with_parent(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGHUP):  # they reach every process of the terminal; the run's answers them
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()  # a fork server's children have the environment of the moment when it started, long ago
    os.environ.update(environment)
    torch.set_num_threads(1)
    _allow_many_files()
    _steps = steps


def _make(step: int) -> StepBatch:
    assert _steps is not None  # `_begin` came first
    return _steps[step]


def _allow_many_files() -> None:
    """Raises the soft limit of open files: each tensor that comes from a worker holds one until it is freed.

    A batch of many parts passes the usual 1024; PyTorch then fails with "received 0 items of ancdata".
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # a system that lets no one raise it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _require_one_size(contents: Sequence[Tensor], layouts: Sequence[Layout]) -> None:
    """Raises where samples differ in more than the length of a sequence."""
    pairs = zip(contents, layouts, strict=True)
    sizes = [(content.shape[:-1], layout if len(layout.shape) > 1 else None) for content, layout in pairs]
    other = next((index for index, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        first, second = (
            f"{' × '.join(map(str, contents[i].shape))} ({' × '.join(map(str, layouts[i].shape))} positions)"
            for i in (0, other)
        )
        raise DataError(
            f"samples of {first} and of {second} cannot share a batch: padding fills up the end of a sequence alone",
            where=f"source, samples 0 and {other} of a batch",
            hint="have the source give all samples one size, by cropping or resizing, or use batches of one",
        )
