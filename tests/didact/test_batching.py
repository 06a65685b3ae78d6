"""The batch plan: all samples are used, the budget is kept, and the order of requests does not matter."""

from __future__ import annotations

import pickle
from collections import Counter

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
        assert batch.length == lengths[batch.samples].min()
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
        assert (batch.epoch, batch.length) == (replay[step].epoch, replay[step].length)


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


@patient
@given(lengths, budgets, st.integers(1, 9))
def test_parts_are_nearly_equal_and_make_up_the_batch(lengths, budget, count):
    batch = BatchPlan(lengths, BatchSize.seconds(budget), 0).batch(0)
    parts = [batch.part(index, count) for index in range(count)]
    assert np.concatenate(parts).tolist() == batch.samples.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


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
