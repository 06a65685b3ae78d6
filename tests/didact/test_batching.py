"""The batch plan: all samples are used, the budget is kept, and the order of requests does not matter."""

from __future__ import annotations

import pickle
import time
import tracemalloc
from collections import Counter
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import BatchSize, DataError
from didact.batching import BatchPlan

patient = settings(deadline=None, max_examples=50)  # the first call of a plan imports and caches

lengths = st.lists(st.floats(0.1, 20.0), min_size=1, max_size=60).map(np.array)
budgets = st.floats(20.0, 200.0)
seeds = st.integers(0, 2**31)


def epoch_of(plan: BatchPlan, epoch: int) -> list[np.ndarray]:
    first = epoch * plan.batches_per_epoch
    return [plan.batch(step).samples for step in range(first, first + plan.batches_per_epoch)]


@patient
@given(lengths, budgets, seeds)
def test_every_epoch_of_a_length_budget_has_every_sample(lengths, budget, seed):
    plan = BatchPlan(lengths, BatchSize.seconds(budget), seed)
    for epoch in range(2):
        seen = Counter(int(sample) for batch in epoch_of(plan, epoch) for sample in batch)
        assert set(seen) == set(range(len(lengths)))
        assert max(seen.values()) <= 2  # filling up a bucket's last batch repeats a sample once at most


@patient
@given(lengths, budgets, seeds)
def test_no_padded_batch_is_more_than_its_budget(lengths, budget, seed):
    plan = BatchPlan(lengths, BatchSize.seconds(budget), seed)
    for step in range(plan.batches_per_epoch):
        batch = plan.batch(step)
        assert len(batch.samples) >= 1
        assert len(set(batch.samples.tolist())) == len(batch.samples)
        assert len(batch.samples) * lengths[batch.samples].max() <= budget * (1 + 1e-9)
        assert batch.step == step


@patient
@given(st.integers(300, 400), st.floats(0.1, 2.0), seeds)
def test_batches_of_enough_data_are_at_least_half_full(count, spread, seed):
    lengths = np.clip(np.random.default_rng(seed).lognormal(0.5, spread, count), 0.1, 20.0)
    plan = BatchPlan(lengths, BatchSize.seconds(60.0), seed)
    for batch in epoch_of(plan, 0):
        # a batch is padded to its bucket's longest at most, and one more of those might not have fitted
        assert (len(batch) + 1) * lengths[batch].max() >= 30.0 / 1.1


def test_few_long_outliers_do_not_make_a_batch_of_their_own():
    lengths = np.array([1.0] * 1000 + [19.0])
    plan = BatchPlan(lengths, BatchSize.seconds(100), 0)
    outlier = next(batch for batch in epoch_of(plan, 0) if 1000 in batch)
    assert len(outlier) == 5


def test_few_short_samples_join_the_bucket_above():
    lengths = np.array([0.1] * 3 + [10.0] * 40)
    plan = BatchPlan(lengths, BatchSize.seconds(100), 0)
    assert {len(batch) for batch in epoch_of(plan, 0)} == {10}


@patient
@given(st.integers(1, 60), st.integers(1, 150), seeds)
def test_batches_of_samples_run_through_one_permutation_after_another(n, count, seed):
    plan = BatchPlan(np.ones(n), BatchSize.samples(count), seed)
    steps = -(-3 * n // count)
    stream = np.concatenate([plan.batch(step).samples for step in range(steps)])
    assert all(len(plan.batch(step).samples) == count for step in range(steps))
    for epoch in range(len(stream) // n):
        assert sorted(stream[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))
    assert [plan.batch(step).epoch for step in range(steps)] == [step * count // n for step in range(steps)]


sizes = st.one_of(st.integers(1, 40).map(BatchSize.samples), budgets.map(BatchSize.seconds))


@patient
@given(lengths, sizes, seeds, st.lists(st.integers(0, 60), min_size=1, max_size=5))
def test_a_batch_is_a_function_of_the_seed_and_its_number(lengths, size, seed, asked):
    replayed = BatchPlan(lengths, size, seed)
    replay = [replayed.batch(step) for step in range(max(asked) + 1)]
    sought = pickle.loads(pickle.dumps(BatchPlan(lengths.copy(), size, seed)))
    for step in asked:
        batch = sought.batch(step)
        assert batch.samples.tolist() == replay[step].samples.tolist()
        assert batch.epoch == replay[step].epoch


@pytest.mark.parametrize("size", [BatchSize.samples(16), BatchSize.seconds(40)])
def test_seeds_and_epochs_have_orders_of_their_own(size: BatchSize):
    lengths = np.linspace(1, 9, 200)
    plan, other = BatchPlan(lengths, size, 0), BatchPlan(lengths, size, 1)
    steps = len(lengths) // 16 if size.unit == "samples" else plan.batches_per_epoch
    first, second, another = (
        [plan.batch(step).samples.tolist() for step in range(steps)],
        [plan.batch(steps + step).samples.tolist() for step in range(steps)],
        [other.batch(step).samples.tolist() for step in range(steps)],
    )
    assert first != second
    assert first != another
    assert sorted(map(sorted, first)) != sorted(map(sorted, second))  # other company, not only another turn


def test_a_far_epoch_is_found_at_once():
    plan = BatchPlan(np.linspace(1, 9, 200), BatchSize.seconds(40), 0)
    far = plan.batches_per_epoch * 10**9 + 3
    assert plan.batch(far).epoch == 10**9
    assert BatchPlan(np.ones(7), BatchSize.samples(3), 0).batch(10**12).epoch == 3 * 10**12 // 7


def test_what_cannot_be_batched_is_said():
    with pytest.raises(DataError, match="there is no sample to learn from"):
        BatchPlan(np.array([]), BatchSize.samples(4), 0)
    with pytest.raises(DataError, match="a sample of 30 seconds is longer than a whole batch of 20"):
        BatchPlan(np.array([1.0, 30.0]), BatchSize.seconds(20), 0)
    for odd in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(DataError, match="sample 1 first"):
            BatchPlan(np.array([1.0, odd, 2.0]), BatchSize.seconds(20), 0)


@patient
@given(st.integers(1, 12), st.integers(1, 20), seeds)
def test_the_smallest_batch_of_samples_is_as_large_as_every_other(count, size, seed):
    plan = BatchPlan(np.ones(count), BatchSize.samples(size), seed)
    assert plan.smallest == min(len(plan.batch(step).samples) for step in range(20)) == size


@patient
@given(lengths, budgets, seeds)
def test_the_smallest_batch_of_a_length_budget_is_one_that_there_is(lengths, budget, seed):
    plan = BatchPlan(lengths, BatchSize.seconds(budget), seed)
    assert plan.smallest == min(map(len, epoch_of(plan, 0)))


def test_a_plan_of_samples_holds_nothing_that_grows_with_their_number():
    def plan_of(count: int) -> BatchPlan:
        return BatchPlan(np.broadcast_to(np.float64(1), count), BatchSize.samples(256), 0)

    plan_of(10).batch(0)  # loads what the first call loads
    tracemalloc.start()
    try:
        plan = plan_of(10**8)
        for step in range(0, 10**9, 10**8):
            plan.batch(step)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20_000
    assert peak < 500_000
    assert abs(len(pickle.dumps(plan)) - len(pickle.dumps(plan_of(10)))) < 32
    assert pickle.loads(pickle.dumps(plan)).batch(10**12).samples.tolist() == plan.batch(10**12).samples.tolist()

    def milliseconds(step: int) -> float:
        begun = time.perf_counter()
        plan.batch(step)
        return 1000 * (time.perf_counter() - begun)

    assert min(milliseconds(step) for step in range(20)) < 5


def test_lengths_on_disk_are_read_and_not_copied(tmp_path):
    np.save(tmp_path / "lengths.npy", np.random.default_rng(0).uniform(1, 9, 10**6))
    lengths = np.load(tmp_path / "lengths.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        BatchPlan(lengths, BatchSize.samples(4), 0)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    plan = BatchPlan(lengths, BatchSize.seconds(90), 0)
    assert (
        plan.batch(7).samples.tolist()
        == BatchPlan(np.array(lengths), BatchSize.seconds(90), 0).batch(7).samples.tolist()
    )


def test_a_worker_is_sent_no_order_of_lengths():
    """It is in shared memory."""
    plans = [
        BatchPlan(np.random.default_rng(0).uniform(5, 9, count), BatchSize.seconds(90), 0) for count in (10**3, 10**6)
    ]
    few, many = (len(ForkingPickler.dumps(plan)) for plan in plans)
    assert many - few < 500
    assert plans[1].batch(5).samples.max() > 1000  # and is still there
