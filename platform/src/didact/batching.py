"""Selects the samples of global batch n as a pure function of (seed, n), without replaying earlier batches."""

from __future__ import annotations

import functools
import math

import attrs
import numpy as np

from didact.errors import DataError
from didact.randomness import key
from didact.training import BatchSize

BUCKET_RATIO = 1.1  # samples whose lengths differ by at most this factor share a bucket


@attrs.frozen(kw_only=True, eq=False)
class GlobalBatch:
    """The samples of one global batch.

    Attributes:
        step: the batch's number, from 0.
        epoch: number of times that every sample was seen before this batch.
        samples: (B,) int64; indices into the source.
        length: the length of the shortest sample, in the source's unit.
    """

    step: int
    epoch: int
    samples: np.ndarray
    length: float

    def part(self, index: int, parts: int) -> np.ndarray:
        """Returns the samples of part ``index`` of ``parts`` nearly equal, contiguous parts."""
        return np.array_split(self.samples, parts)[index]


class BatchPlan:
    """The order of all samples over a run.

    If the batch size is a number of samples, batches are slices of an endless series of permutations of all samples.

    If the batch size is a length, samples of similar length share a bucket, and each bucket is reshuffled every epoch.
    All batches of a bucket hold as many samples as fit the batch size at the length of the bucket's longest sample. The
    number of shapes is therefore small, every epoch has the same number of batches, and seeking needs no replay.

    Attributes:
        batches_per_epoch: number of batches in an epoch, if the batch size is a length.
        smallest: number of samples in the smallest batch.

    Args:
        lengths: (N,) every sample's length, in the source's unit.
        size: the size of a global batch.
        seed: the seed of the order.

    Raises:
        DataError: there are no samples, a sample has no length, or a single sample exceeds the batch size.
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
            self.smallest = int(size.amount)  # even if there are fewer samples: some then occur twice
        counts = [math.ceil(len(members) / per_batch) for members, per_batch in self._buckets]
        self.batches_per_epoch = sum(counts)
        self._starts = np.cumsum([0, *counts])

    def batch(self, step: int) -> GlobalBatch:
        """Returns global batch number ``step``, from 0."""
        epoch, samples = self._of_samples(step) if self.size.unit == "samples" else self._of_length(step)
        return GlobalBatch(step=step, epoch=epoch, samples=samples, length=float(self.lengths[samples].min()))

    def _of_samples(self, step: int) -> tuple[int, np.ndarray]:
        count, n = int(self.size.amount), len(self.lengths)
        first = step * count
        epochs = range(first // n, (first + count - 1) // n + 1)  # a batch may span several epochs
        orders = [(self._permutation("order", epoch, n), first - epoch * n) for epoch in epochs]
        return epochs[0], np.concatenate([order[max(0, start) : start + count] for order, start in orders])

    def _of_length(self, step: int) -> tuple[int, np.ndarray]:
        epoch, position = divmod(step, self.batches_per_epoch)
        slot = int(self._permutation("batches", epoch, self.batches_per_epoch)[position])
        bucket = int(np.searchsorted(self._starts, slot, side="right")) - 1
        shuffled = self._shuffled_bucket(epoch, bucket)
        # the last batch of a bucket is as large as the others, so it may overlap the batch before it
        per_batch = min(self._buckets[bucket][1], len(shuffled))
        start = min((slot - int(self._starts[bucket])) * per_batch, len(shuffled) - per_batch)
        return epoch, shuffled[start : start + per_batch]

    def _make_buckets(self) -> list[tuple[np.ndarray, int]]:
        """Returns each bucket's samples and the number of samples in its batches."""
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
        while end > 0:  # from the longest down, because a bucket's longest sample determines its batch size
            per_batch = int(self.size.amount // ascending[end - 1])
            if buckets and end * ascending[end - 1] < self.size.amount / 2:
                # the remaining samples fill less than half a batch, so they join the bucket above
                members, per_batch = buckets.pop()
                buckets.append((np.concatenate([order[:end], members]), per_batch))
                break
            similar = int(np.searchsorted(ascending, ascending[end - 1] / BUCKET_RATIO))
            start = min(similar, max(0, end - per_batch))  # shorter samples fill the batch if too few are similar
            buckets.append((order[start:end], per_batch))
            end = start
        return buckets

    @functools.lru_cache(maxsize=2)  # noqa: B019 - the plan exists for the whole run
    def _permutation(self, what: str, epoch: int, count: int) -> np.ndarray:
        return np.random.default_rng(key(self.seed, what, epoch)).permutation(count)

    @functools.lru_cache(maxsize=64)  # noqa: B019
    def _shuffled_bucket(self, epoch: int, bucket: int) -> np.ndarray:
        members = self._buckets[bucket][0]
        return np.random.default_rng(key(self.seed, "bucket", epoch, bucket)).permutation(members)
