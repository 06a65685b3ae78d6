"""Which samples make up global batch n: a pure function of (seed, n), found without replaying what came before."""

from __future__ import annotations

import functools
import math

import attrs
import numpy as np

from didact.errors import DataError
from didact.randomness import key
from didact.training import BatchSize

BUCKET_RATIO = 1.1  # samples whose lengths differ by at most this share a bucket


@attrs.frozen(kw_only=True, eq=False)
class GlobalBatch:
    """The samples of one global batch.

    Attributes:
        step: its number, from 0.
        epoch: number of times that every sample was seen before.
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

    Batches of a number of samples are cut from an endless stream, one permutation of all samples after another.

    Under a budget of length, samples of similar length share a bucket, within which they are shuffled anew in every
    epoch. A bucket's batches all hold as many samples as fit the budget at that bucket's longest, so shapes are few and
    every epoch has equally many batches: seeking to any batch is a division instead of a replay.

    Attributes:
        batches_per_epoch: of a plan under a budget of length.
        smallest: number of samples in the smallest batch.

    Args:
        lengths: (N,) every sample's length, in the source's unit.
        size: of a batch.
        seed: of the order.

    Raises:
        DataError: there is no sample, one has no length, or one alone is more than a batch.
    """

    def __init__(self, lengths: np.ndarray, size: BatchSize, seed: int) -> None:
        if len(lengths) == 0:
            raise DataError("there is no sample to learn from", hint="ingest some, or loosen the source's filter")
        self.lengths, self.size, self.seed = np.asarray(lengths, dtype=np.float64), size, seed
        odd = np.flatnonzero(~(np.isfinite(self.lengths) & (self.lengths > 0)))
        if len(odd):
            raise DataError(
                f"{len(odd)} samples have no length, sample {odd[0]} first: {self.lengths[odd[0]]:g}",
                where="source",
                hint="remove them from the store, or from the source",
            )
        self._buckets = self._make_buckets()
        self.smallest = min(min(per_batch, len(members)) for members, per_batch in self._buckets)
        if size.unit == "samples":
            self.smallest = int(size.amount)  # also where there are fewer samples: some are seen twice
        counts = [math.ceil(len(members) / per_batch) for members, per_batch in self._buckets]
        self.batches_per_epoch = sum(counts)
        self._starts = np.cumsum([0, *counts])

    def batch(self, step: int) -> GlobalBatch:
        """Global batch number ``step``, from 0."""
        epoch, samples = self._of_samples(step) if self.size.unit == "samples" else self._of_length(step)
        return GlobalBatch(step=step, epoch=epoch, samples=samples, length=float(self.lengths[samples].min()))

    def _of_samples(self, step: int) -> tuple[int, np.ndarray]:
        count, n = int(self.size.amount), len(self.lengths)
        first = step * count
        epochs = range(first // n, (first + count - 1) // n + 1)  # a batch may span the turn of an epoch
        orders = [(self._permutation("order", epoch, n), first - epoch * n) for epoch in epochs]
        return epochs[0], np.concatenate([order[max(0, start) : start + count] for order, start in orders])

    def _of_length(self, step: int) -> tuple[int, np.ndarray]:
        epoch, position = divmod(step, self.batches_per_epoch)
        slot = int(self._permutation("batches", epoch, self.batches_per_epoch)[position])
        bucket = int(np.searchsorted(self._starts, slot, side="right")) - 1
        shuffled = self._shuffled_bucket(epoch, bucket)
        # the last batch of a bucket is as full as the others: it shares samples with the batch before it
        per_batch = min(self._buckets[bucket][1], len(shuffled))
        start = min((slot - int(self._starts[bucket])) * per_batch, len(shuffled) - per_batch)
        return epoch, shuffled[start : start + per_batch]

    def _make_buckets(self) -> list[tuple[np.ndarray, int]]:
        """Each bucket's samples, and the number of them in a batch."""
        order = np.argsort(self.lengths, kind="stable")
        if self.size.unit == "samples":
            return [(order, int(self.size.amount))]
        longest = float(self.lengths.max())
        if longest > self.size.amount:
            raise DataError(
                f"a sample of {longest:g} {self.size.unit} is longer than a whole batch of {self.size.amount:g}",
                where="training.batch",
                hint="enlarge the batch, or limit the length of the source's samples",
            )
        ascending = self.lengths[order]
        buckets: list[tuple[np.ndarray, int]] = []
        end = len(order)
        while end > 0:  # from the longest down, because a bucket's longest decides how many make a batch
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
    def _permutation(self, what: str, epoch: int, count: int) -> np.ndarray:
        return np.random.default_rng(key(self.seed, what, epoch)).permutation(count)

    @functools.lru_cache(maxsize=64)  # noqa: B019
    def _shuffled_bucket(self, epoch: int, bucket: int) -> np.ndarray:
        members = self._buckets[bucket][0]
        return np.random.default_rng(key(self.seed, "bucket", epoch, bucket)).permutation(members)
