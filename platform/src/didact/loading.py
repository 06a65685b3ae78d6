"""From a source's samples to a batch: collated, laid out and masked in the loader's workers."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import signal
import warnings
from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchdata.stateful_dataloader import StatefulDataLoader

from didact.batching import BatchPlan
from didact.contracts import FeatureEncoder, Masker, Samples
from didact.errors import DataError, DidactError, RunError, of_field
from didact.experiment import Experiment
from didact.machine.distributed import World
from didact.machine.processes import end_with_parent, server
from didact.randomness import generator, key
from didact.tensors import Batch, BatchMask, Layout, Mask, View

STEPS_AHEAD = 2  # that each worker has made ready, whole, in shared memory; of 2,048 images one takes 1.2 GiB


@attrs.frozen(kw_only=True, eq=False)
class StepBatch:
    """What one optimizer step learns from on this process.

    Attributes:
        step: its number, from 0.
        epoch: the turn over the data that it belongs to.
        parts: this process's share of the global batch, in micro-batches.
        samples: of the whole global batch.
        padding: the share of the content that is padding.
    """

    step: int
    epoch: int
    parts: tuple[Batch, ...]
    samples: int
    padding: float

    def pin_memory(self) -> StepBatch:
        """In page-locked memory; the loader calls it where the device is a GPU."""
        from didact.tensors import pin

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
        encoder: lays them out.
        masker: draws their masks; None leaves the view whole.
        generators: one for each sample, for the masker.
        batch_generator: for a masker that equalises counts over these samples.

    Raises:
        DataError: the samples differ in more than their length.
    """
    layouts = [encoder.layout(tuple(content.shape)) for content in contents]
    _differ_in_length_alone(contents, layouts)
    longest = max(range(len(contents)), key=lambda index: layouts[index].positions)
    sizes = [content.shape[-1] for content in contents]
    size = max(sizes)
    content = torch.stack([torch.nn.functional.pad(content, (0, size - content.shape[-1])) for content in contents])
    layout = encoder.layout(tuple(content.shape[1:])) if len(set(sizes)) > 1 else layouts[longest]
    held = torch.tensor([layout.positions for layout in layouts])  # (B,)
    padding = torch.arange(layout.positions) >= held[:, None]  # (B, T)
    mask = None
    if masker is not None:
        with of_field("masker"):
            masks: tuple[Mask, ...] = tuple(
                masker.sample(layout, generator=generator)
                for layout, generator in zip(layouts, generators, strict=True)
            )
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


class Steps(Dataset[StepBatch]):
    """The batches of a run by the number of their step; opens its source in the process that reads.

    Args:
        experiment: what is run.
        plan: which samples make up each batch.
        world: the processes that share each batch.

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
                mend="enlarge the batch, or start fewer processes",
            )
        self._samples: Samples | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_samples": None}  # an opened store never crosses a process

    def __getitem__(self, step: int) -> StepBatch:
        if self._samples is None:
            self._samples = self.experiment.source.open()
        samples, experiment = self._samples, self.experiment
        batch = self.plan.batch(step)
        length = batch.length if experiment.source.crops else None
        count = self.world.micro_batches(experiment.training.micro_batches, len(batch.samples))
        parts = tuple(
            self._part(samples, step, [int(i) for i in batch.part(index, self.world.size * count)], length, index)
            for index in range(self.world.rank * count, (self.world.rank + 1) * count)
        )
        held = sum(int((~v.padding).sum()) if v.padding is not None else _cells(v) for p in parts for v in p.views)
        return StepBatch(
            step=step,
            epoch=batch.epoch,
            parts=parts,
            samples=len(batch.samples),
            padding=1 - held / sum(_cells(v) for p in parts for v in p.views),
        )

    def rehearsal(self) -> Batch:
        """The first sample of the first batch alone, to see that everything fits before a run begins."""
        samples = self.experiment.source.open()
        batch = self.plan.batch(0)
        length = batch.length if self.experiment.source.crops else None
        return self._part(samples, 0, [int(batch.samples[0])], length, 0)

    def _part(self, samples: Samples, step: int, ids: list[int], length: float | None, index: int) -> Batch:
        seed, experiment = self.experiment.training.seed, self.experiment
        contents = [
            samples.views(sample, length=length, generator=generator(seed, "view", step, sample)) for sample in ids
        ]
        views = []
        for number, of_view in enumerate(zip(*contents, strict=True)):
            generators = [generator(seed, "mask", number, step, sample) for sample in ids]
            together = generator(seed, "equalise", number, step, index)
            view = collate(of_view, experiment.encoder, experiment.masker, generators, together)
            keys = torch.tensor([key(seed, "step", number, step, sample) for sample in ids])
            views.append(attrs.evolve(view, keys=keys))
        return Batch(views=tuple(views), ids=torch.tensor(ids))


def load(
    experiment: Experiment, plan: BatchPlan, first: int, *, pin: bool, world: World | None = None
) -> Iterator[StepBatch]:
    """The run's batches from step ``first`` on, prefetched by workers.

    Args:
        experiment: what is run.
        plan: which samples make up each batch.
        first: the step to begin with; seeking costs nothing.
        pin: whether batches go to page-locked memory, for a GPU.
        world: the processes that share each batch; None: this one has it alone.

    Raises:
        DidactError: what a worker found, as it found it.
        RunError: a worker was killed.
    """
    workers = experiment.training.workers
    if workers:
        _allow_many_files()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'set_vital' is deprecated")  # torchdata 0.11's affair with newer PyTorch
        loader = StatefulDataLoader(
            _Reporting(Steps(experiment, plan, world)),
            batch_size=None,
            sampler=_Range(first, experiment.training.steps),
            num_workers=workers,
            prefetch_factor=STEPS_AHEAD if workers else None,
            pin_memory=pin,
            # not by a fork of this process, whose threads may leave it deadlocked
            multiprocessing_context=server(__name__, *_modules(experiment)) if workers else None,
            snapshot_every_n_steps=2**31,  # the step number is all the state there is
            persistent_workers=False,
            worker_init_fn=functools.partial(_begin, dict(os.environ)),
            generator=generator(experiment.training.seed, "loader"),  # else it would draw from the step's randomness
        )
    try:
        for batch in loader:
            if isinstance(batch, DidactError):
                raise batch
            yield batch
    except (RuntimeError, OSError, EOFError) as error:
        # a worker that ends while a tensor of its comes over breaks the connection before anybody looks after it
        broken = isinstance(error, (ConnectionError, EOFError, FileNotFoundError)) and "Caught " not in str(error)
        told = ("DataLoader worker (pid", "Pin memory thread")  # that thread ends where a worker's tensor breaks off
        if not workers or not (broken or any(words in str(error) for words in told)):
            raise
        raise RunError(
            f"a process that loads data ended: {error}",
            where="training.workers",
            mend="memory may have run out: take fewer workers or a smaller batch, or workers=0 to see what happens",
        ) from error


class _Reporting(Dataset[StepBatch | DidactError]):
    """Hands a worker's `DidactError` over as a value: raised, it would arrive as a string in a traceback."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def __getitem__(self, step: int) -> StepBatch | DidactError:
        try:
            return self.steps[step]
        except DidactError as error:
            return error


class _Range(Sampler[int]):
    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last))

    def __len__(self) -> int:
        return max(0, self.last - self.first)


def _begin(environment: dict[str, str], worker: int) -> None:
    end_with_parent(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGHUP):  # they reach every process of the terminal; the run's answers them
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()  # a fork server's children have that of the moment when it started, long ago
    os.environ.update(environment)
    _allow_many_files(worker)


def _modules(experiment: Experiment) -> set[str]:
    """Those that loading needs, so that one import serves all workers."""
    parts = (experiment.source, experiment.encoder, experiment.masker)
    return {type(part).__module__ for part in parts if part is not None}


def _allow_many_files(worker: int = 0) -> None:
    """Raises the soft limit of open files: each tensor that comes from a worker holds one until it is freed.

    A batch of many micro-batches passes the usual 1024; PyTorch then fails with "received 0 items of ancdata".
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # a system that lets no one raise it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _differ_in_length_alone(contents: Sequence[Tensor], layouts: Sequence[Layout]) -> None:
    first, grid = contents[0].shape, len(layouts[0].shape) > 1
    for index, (content, layout) in enumerate(zip(contents, layouts, strict=True)):
        if content.shape[:-1] != first[:-1] or (grid and layout != layouts[0]):
            raise DataError(
                f"samples of {_sized(first, layouts[0])} and of {_sized(content.shape, layout)} cannot share a batch: "
                f"what is missing at the end of a sequence is padded, and nothing else can be",
                where=f"source, samples 0 and {index} of a batch",
                mend="have the source give all samples one size, by cropping or resizing, or take batches of one",
            )


def _sized(size: Sequence[int], layout: Layout) -> str:
    return f"{' × '.join(map(str, size))} ({' × '.join(map(str, layout.shape))} positions)"


def _cells(view: View) -> int:
    return view.content.shape[0] * view.layout.positions
