"""Loading: equal batches for any number of workers, any first step and any number of parts; errors unchanged."""

from __future__ import annotations

import importlib
import pickle
import resource
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import AdamW, BatchSize, DataError, Experiment, Layout, RunError, SpecError, Training, View, collate
from didact.batching import BatchPlan
from didact.loading import StepBatch, Steps, load
from didact.randomness import generator
from didact_kit import TinyObjective, TinyTargets
from didact_kit.tiny import TinyBackbone, TinyEncoder, TinyMasker, TinySource

# sources that misbehave, in a module of their own: workers import it, which they cannot with a test's
SOURCES = '''
import os
import signal
from pathlib import Path

import attrs
import numpy as np
import torch

from didact import DataError
from didact_kit.tiny_sources import TinySamples, TinySource


class BrokenSamples(TinySamples):
    def views(self, index, *, length, generator):
        if index == 5:
            raise DataError("the record is broken", where=self.name(index), hint="leave it out")
        return super().views(index, length=length, generator=generator)


@attrs.frozen(kw_only=True)
class Broken(TinySource):
    """One sample cannot be read."""

    def open(self):
        return BrokenSamples(self)


class DyingSamples(TinySamples):
    def views(self, index, *, length, generator):
        os.kill(os.getpid(), signal.SIGKILL)


@attrs.frozen(kw_only=True)
class Dying(TinySource):
    """Reading it takes the process along, as running out of memory does."""

    def open(self):
        return DyingSamples(self)


class CroppedSamples(TinySamples):
    def views(self, index, *, length, generator):
        assert length is not None
        return (self.content(index)[:, : int(length)], self.content(index)[:, : int(length) // 2])


@attrs.frozen(kw_only=True)
class Cropped(TinySource):
    """Two views, cut to the batch's shortest."""

    crops = True

    def open(self):
        return CroppedSamples(self)


class WeighingSamples(TinySamples):
    def __init__(self, source):
        super().__init__(attrs.evolve(source, count=1))
        self.lengths = np.broadcast_to(np.float64(1), source.count)

    def views(self, index, *, length, generator):
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        own = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
        return (torch.tensor([[own]]),)


@attrs.frozen(kw_only=True)
class Weighing(TinySource):
    """The content of a sample is the memory of its worker, in KiB."""

    def open(self):
        return WeighingSamples(self)
'''


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Any:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "sources_of_the_loading_tests.py").write_text(SOURCES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("sources_of_the_loading_tests")


FOUR = BatchSize.samples(4)


def experiment(source: TinySource | None = None, *, batch: BatchSize = FOUR, **training: Any) -> Experiment:
    settings = {"steps": 9, "optimizer": AdamW(learning_rate=0.0), "num_workers": 0} | training
    return Experiment(
        name="loaded",
        source=source if source is not None else TinySource(uneven=True),
        encoder=TinyEncoder(),
        masker=TinyMasker(masks=2),
        backbone=TinyBackbone(),
        targets=TinyTargets(),
        objective=TinyObjective(),
        training=Training(batch=batch, **settings),
    )


def batches(made: Any, first: int = 0) -> list[StepBatch]:
    training = made.training
    plan = BatchPlan(made.source.open().lengths, training.batch, training.seed)
    return list(load(made, plan, first, pin=False))


def plain(value: Any) -> Any:
    """A batch as lists, to compare."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    return value


def by_sample(batch: StepBatch) -> dict[int, Any]:
    """Each sample's own content, masks and key, whatever it was collated with."""
    found = {}
    for part in batch.parts:
        (view,) = part.views
        for row, sample in enumerate(part.ids.tolist()):
            size = view.content.shape[-1] if view.lengths is None else int(view.lengths[row])
            assert view.mask is not None
            assert view.mask.hidden is not None
            found[sample] = plain(
                (
                    view.content[row, :, :size],
                    view.mask.predicted[row, :, :size],
                    view.mask.hidden[row, :, :size],
                    view.keys[row],
                )
            )
    return found


def test_steps_come_in_order_and_each_once():
    found = batches(experiment())
    assert [batch.step for batch in found] == list(range(9))
    assert [batch.epoch for batch in found] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert sorted(sample for batch in found[:4] for part in batch.parts for sample in part.ids.tolist()) == [*range(16)]


def test_two_workers_give_what_none_gives():
    here = batches(experiment(num_workers=0, gradient_accumulation_steps=2))
    there = batches(experiment(num_workers=2, gradient_accumulation_steps=2))
    assert plain(tuple(here)) == plain(tuple(there))


def test_seeking_gives_what_replaying_gives():
    replayed = batches(experiment())
    for first in (1, 4, 8):
        assert plain(tuple(batches(experiment(), first))) == plain(tuple(replayed[first:]))
    assert batches(experiment(), 9) == []


def test_no_split_into_micro_batches_changes_a_sample_or_its_masks():
    whole = [by_sample(batch) for batch in batches(experiment(batch=BatchSize.samples(6)))]
    for parts in (2, 3, 6, 8):
        split = batches(experiment(batch=BatchSize.samples(6), gradient_accumulation_steps=parts))
        assert [by_sample(batch) for batch in split] == whole
        assert all(len(batch.parts) == min(parts, 6) for batch in split)


def test_a_sample_is_another_view_behind_other_masks_in_every_step():
    whole = batches(experiment(batch=BatchSize.samples(16), steps=2))
    first, second = (by_sample(batch) for batch in whole)
    assert first.keys() == second.keys()
    assert all(first[sample][0] != second[sample][0] for sample in first)
    assert sum(first[sample][1] != second[sample][1] for sample in first) >= 12
    assert first[0][3] != second[0][3]


def test_a_seed_decides_everything():
    assert plain(tuple(batches(experiment(seed=3)))) == plain(tuple(batches(experiment(seed=3))))
    assert plain(tuple(batches(experiment(seed=3)))) != plain(tuple(batches(experiment(seed=4))))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loading_leaves_the_randomness_of_training_alone(num_workers):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    batches(experiment(num_workers=num_workers, steps=2))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_arrives_as_it_was_raised(sources, num_workers):
    with pytest.raises(DataError) as raised:
        batches(experiment(sources.Broken(uneven=True), num_workers=num_workers, steps=4))
    error = raised.value
    assert (error.what, error.where, error.hint) == ("the record is broken", "walk 5", "leave it out")


def test_what_was_loaded_before_an_error_is_still_learnt_from(sources):
    made = experiment(sources.Broken(uneven=True), num_workers=1, steps=4)
    plan = BatchPlan(made.source.open().lengths, made.training.batch, 0)
    guilty = next(step for step in range(4) if 5 in plan.batch(step).samples)
    loaded = load(made, plan, 0, pin=False)
    assert [next(loaded).step for _ in range(guilty)] == list(range(guilty))
    with pytest.raises(DataError):
        next(loaded)


def test_a_worker_that_is_killed_is_an_error_that_says_what_to_try(sources):
    with pytest.raises(RunError) as raised:
        batches(experiment(sources.Dying(), num_workers=1))
    assert "a process that loads data ended" in raised.value.what
    assert raised.value.where == "training.num_workers"


def test_a_mask_that_hides_nothing_is_told_before_any_step():
    with pytest.raises(SpecError, match="half of one position"):
        batches(experiment(TinySource(length=1)))


def test_cropping_sources_cut_to_the_shortest_of_their_batch(sources):
    made = experiment(sources.Cropped(uneven=True), batch=BatchSize(amount=60, unit="values"), steps=6)
    sizes = made.source.open().lengths
    for batch in batches(made):
        for part in batch.parts:
            shortest = int(sizes[part.ids].min())
            assert [tuple(view.content.shape[1:]) for view in part.views] == [(3, shortest), (3, shortest // 2)]
            assert all(view.padding is None and view.lengths is None for view in part.views)
        assert batch.held == batch.cells


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell private memory")
@pytest.mark.parametrize("size", [BatchSize.samples(4), BatchSize(amount=4, unit="values")])
def test_a_worker_needs_no_more_memory_for_more_samples(sources, size):
    """The order of 4,000,000 lengths takes 32 MB, which all processes share."""

    def needed(count: int) -> int:
        made = experiment(sources.Weighing(count=count), batch=size, num_workers=1, steps=40)
        made = attrs.evolve(made, masker=None)
        return int(batches(made)[-1].parts[0].views[0].content.max())

    assert abs(needed(4_000_000) - needed(1000)) < 1000


def test_an_opened_source_stays_in_its_process():
    made = experiment()
    steps = Steps(made, BatchPlan(made.source.open().lengths, made.training.batch, 0))
    assert steps[0].step == 0
    assert steps._samples is not None
    assert pickle.loads(pickle.dumps(steps))._samples is None


def test_many_micro_batches_do_not_run_out_of_open_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 8192:
        pytest.skip("the limit of open files cannot be raised far enough here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        made = experiment(
            TinySource(count=64), batch=BatchSize.samples(64), gradient_accumulation_steps=64, num_workers=1, steps=3
        )
        held = batches(made)  # 64 parts of several tensors each, none freed
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(held) == 3


# ── collate ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=6))
def test_collate_pads_with_zeros_and_says_where(sizes):
    contents = [torch.randn(3, size) for size in sizes]
    generators = [generator(0, "mask", index) for index in range(len(sizes))]
    view: View = collate(contents, TinyEncoder(), TinyMasker(), generators)
    longest = max(sizes)
    assert view.content.shape == (len(sizes), 3, longest)
    assert view.layout.shape == (longest,)
    for row, (size, content) in enumerate(zip(sizes, contents, strict=True)):
        assert torch.equal(view.content[row, :, :size], content)
        assert not view.content[row, :, size:].any()
        expected = [position >= size for position in range(longest)]
        assert (view.padding[row].tolist() if view.padding is not None else [False] * longest) == expected
        assert view.mask is not None
        assert not view.mask.predicted[row, :, size:].any()
        assert int(view.mask.predicted[row].sum()) == size // 2
    assert (view.padding is None) == (len(set(sizes)) == 1)
    assert view.lengths is None if view.padding is None else view.lengths.tolist() == sizes


class GridEncoder(TinyEncoder):
    """Content (F, H, W): every pixel is a position."""

    def layout(self, size: tuple[int, ...]) -> Layout:
        return Layout(size[1:])


@pytest.mark.parametrize(
    ("encoder", "sizes", "words"),
    [
        (TinyEncoder(), [(3, 8), (3, 6), (2, 8)], "samples of 3 × 8 (8 positions) and of 2 × 8 (8 positions)"),
        (
            TinyEncoder(),
            [(3, 8), (3, 6), (1, 3, 8)],
            "samples of 3 × 8 (8 positions) and of 1 × 3 × 8 (3 × 8 positions)",
        ),
        (GridEncoder(), [(3, 4, 6), (3, 4, 6), (3, 5, 6)], "samples of 3 × 4 × 6 (4 × 6 positions) and of 3 × 5 × 6"),
        (GridEncoder(), [(3, 4, 6), (3, 4, 6), (3, 4, 5)], "samples of 3 × 4 × 6 (4 × 6 positions) and of 3 × 4 × 5"),
    ],
)
def test_samples_that_padding_cannot_make_equal_are_refused(encoder, sizes, words):
    with pytest.raises(DataError) as raised:
        collate([torch.zeros(size) for size in sizes], encoder)
    assert words in raised.value.what
    assert raised.value.where == "source, samples 0 and 2 of a batch"
    assert "one size" in raised.value.hint


def test_grids_of_one_shape_share_a_batch():
    view = collate([torch.zeros(3, 4, 6)] * 2, GridEncoder())
    assert (view.layout, view.padding, view.lengths) == (Layout((4, 6)), None, None)


def test_the_reported_padding_is_the_share_of_empty_positions():
    for batch in batches(experiment()):
        (part,) = batch.parts
        lengths = TinySource(uneven=True).open().lengths[part.ids]
        assert (batch.held, batch.cells) == (lengths.sum(), len(lengths) * lengths.max())
