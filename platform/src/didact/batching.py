"""Which samples make up global batch n: a pure function of (seed, n), found without replaying what came before."""

from __future__ import annotations

import functools
import math

import attrs
import numpy as np

from didact.errors import DataError
from didact.experiment import BatchSize
from didact.randomness import key

BUCKET_RATIO = 1.1  # samples whose lengths differ by at most this share a bucket


@attrs.frozen(kw_only=True, eq=False)
class GlobalBatch:
    """The samples of one global batch.

    Attributes:
        step: its number, from 0.
        epoch: how often every sample was seen before.
        samples: (B,) int64; indices into the source.
        length: the shortest sample's length, in the source's unit.
    """

    step: int
    epoch: int
    samples: np.ndarray
    length: float

    def part(self, index: int, parts: int) -> np.ndarray:
        """The samples of one of ``parts`` nearly equal, contiguous parts."""
        return np.array_split(self.samples, parts)[index]


class BatchPlan:
    """The order of all samples over a run.

    A batch of so many samples is cut from an endless stream, one permutation of all samples after another.

    Under a budget of length, samples of similar length share a bucket, within which they are shuffled anew in every
    epoch; a bucket's batches all hold as many samples as fit the budget at that bucket's longest, so shapes are few and
    every epoch has equally many batches. That is what makes seeking to any batch a division instead of a replay.

    Attributes:
        batches_per_epoch: over one turn of a plan under a budget of length.
        smallest: how many samples the smallest batch has.

    Args:
        lengths: (N,) every sample's length, in the source's unit.
        size: of a batch.
        seed: of the order.

    Raises:
        DataError: there is no sample, one has no length, or one alone is more than a batch.
    """

    def __init__(self, lengths: np.ndarray, size: BatchSize, seed: int) -> None:
        if len(lengths) == 0:
            raise DataError("there is not one sample to learn from", mend="ingest some, or loosen the source's filter")
        self.lengths, self.size, self.seed = np.asarray(lengths, dtype=np.float64), size, seed
        odd = np.flatnonzero(~(np.isfinite(self.lengths) & (self.lengths > 0)))
        if len(odd):
            raise DataError(
                f"{len(odd)} samples have no length, sample {odd[0]} first: {self.lengths[odd[0]]:g}",
                where="source",
                mend="leave them out of the store, or of the source",
            )
        self._buckets = self._make_buckets()
        self.smallest = min(min(per_batch, len(members)) for members, per_batch in self._buckets)
        counts = [math.ceil(len(members) / per_batch) for members, per_batch in self._buckets]
        self.batches_per_epoch = sum(counts)
        self._starts = np.cumsum([0, *counts])

    def batch(self, step: int) -> GlobalBatch:
        """Global batch number ``step``, from 0."""
        if self.size.unit == "samples":
            return self._batch_of_samples(step)
        epoch, position = divmod(step, self.batches_per_epoch)
        slot = int(self._order_of_slots(epoch)[position])
        bucket = int(np.searchsorted(self._starts, slot, side="right")) - 1
        shuffled = self._shuffled_bucket(epoch, bucket)
        # the last batch of a bucket is as full as the others: it shares what it lacks with the batch before it
        per_batch = min(self._buckets[bucket][1], len(shuffled))
        start = min((slot - int(self._starts[bucket])) * per_batch, len(shuffled) - per_batch)
        return self._global_batch(step, epoch, shuffled[start : start + per_batch])

    def heaviest(self, *, crops: bool) -> tuple[int, ...]:
        """Steps of the first epoch that need the most memory: the one with the most content, the one with the longest.

        Args:
            crops: whether a batch's samples are cut to the shortest of them; else they are padded to the longest.
        """
        windows = self._lengths_by_step()
        sizes = np.array([len(window) for window in windows])
        held = np.array([window.min() if crops else window.max() for window in windows])
        return tuple(dict.fromkeys((int(np.argmax(sizes * held)), int(np.argmax(held)))))

    def _lengths_by_step(self) -> list[np.ndarray]:
        """The lengths of the samples of every whole batch of the first epoch."""
        if self.size.unit == "samples":
            whole = max(1, len(self.lengths) // int(self.size.amount))
            return np.array_split(self.lengths[self._permutation(0)][: whole * int(self.size.amount)], whole)
        return [self.lengths[self.batch(step).samples] for step in range(self.batches_per_epoch)]

    def _batch_of_samples(self, step: int) -> GlobalBatch:
        count, n = int(self.size.amount), len(self.lengths)
        first = step * count
        epochs = range(first // n, (first + count - 1) // n + 1)
        # a batch may span the turn of an epoch
        turns = [self._permutation(epoch)[max(0, first - epoch * n) : first + count - epoch * n] for epoch in epochs]
        return self._global_batch(step, epochs[0], np.concatenate(turns))

    def _global_batch(self, step: int, epoch: int, samples: np.ndarray) -> GlobalBatch:
        return GlobalBatch(step=step, epoch=epoch, samples=samples, length=float(self.lengths[samples].min()))

    def _make_buckets(self) -> list[tuple[np.ndarray, int]]:
        """Each bucket's samples, and how many of them make a batch."""
        order = np.argsort(self.lengths, kind="stable")
        if self.size.unit == "samples":
            return [(order, int(self.size.amount))]
        longest = float(self.lengths.max())
        if longest > self.size.amount:
            raise DataError(
                f"a sample of {longest:g} {self.size.unit} is longer than a whole batch of {self.size.amount:g}",
                where="training.batch",
                mend="enlarge the batch, or limit the length of the source's samples",
            )
        ascending = self.lengths[order]
        buckets: list[tuple[np.ndarray, int]] = []
        end = len(order)
        while end > 0:  # from the longest down, because a bucket's longest says how many make a batch
            per_batch = int(self.size.amount // ascending[end - 1])
            if buckets and end * ascending[end - 1] < self.size.amount / 2:
                # too few are left for a batch worth a step of its own: they join the bucket above
                members, per_batch = buckets.pop()
                buckets.append((np.concatenate([order[:end], members]), per_batch))
                break
            similar = int(np.searchsorted(ascending, ascending[end - 1] / BUCKET_RATIO))
            start = min(similar, max(0, end - per_batch))  # shorter ones fill a batch where too few are similar
            buckets.append((order[start:end], per_batch))
            end = start
        return buckets

    @functools.lru_cache(maxsize=2)  # noqa: B019 - a plan lives as long as its run
    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(key(self.seed, "order", epoch)).permutation(len(self.lengths))

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def _order_of_slots(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(key(self.seed, "batches", epoch)).permutation(self.batches_per_epoch)

    @functools.lru_cache(maxsize=64)  # noqa: B019
    def _shuffled_bucket(self, epoch: int, bucket: int) -> np.ndarray:
        members = self._buckets[bucket][0]
        return np.random.default_rng(key(self.seed, "bucket", epoch, bucket)).permutation(members)
