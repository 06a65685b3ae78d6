"""Selects the samples of global batch n as a pure function of (seed, n), without replaying earlier batches."""

from __future__ import annotations

import math

import attrs
import numpy as np
import torch

from didact.errors import DataError
from didact.randomness import key, permute
from didact.training import BatchSize

BUCKET_RATIO = 1.1  # samples whose lengths differ by at most this factor share a bucket


@attrs.frozen(kw_only=True, eq=False)
class GlobalBatch:
    """The samples of one global batch.

    Attributes:
        step: the batch's number, from 0.
        epoch: number of times that every sample was seen before this batch.
        samples: (B,) int64; indices into the source.
    """

    step: int
    epoch: int
    samples: np.ndarray


class BatchPlan:
    """The order of all samples over a run.

    If the batch size is a number of samples, batches are slices of an endless series of permutations of all samples.
    Permutations are keyed (`didact.randomness.permute`), so the plan takes the same memory for any number of samples.

    If the batch size is a length, samples of similar length share a bucket, and each bucket is reshuffled every epoch.
    All batches of a bucket hold as many samples as fit the batch size at the length of the bucket's longest sample. The
    number of shapes is therefore small, every epoch has the same number of batches, and seeking needs no replay. The
    plan then holds the order of lengths, 8 bytes per sample, which all workers of a process share.

    Attributes:
        count: number of samples.
        batches_per_epoch: number of batches in an epoch, if the batch size is a length.
        smallest: number of samples in the smallest batch.

    Args:
        lengths: (N,) every sample's length, in the source's unit; may be memory-mapped, and is not kept.
        size: the size of a global batch.
        seed: the seed of the order.

    Raises:
        DataError: there are no samples, a sample has no length, or a single sample exceeds the batch size.
    """

    def __init__(self, lengths: np.ndarray, size: BatchSize, seed: int) -> None:
        if len(lengths) == 0:
            raise DataError("there is no sample to learn from", hint="ingest some, or loosen the source's filter")
        if not 0 < np.min(lengths) <= np.max(lengths) < np.inf:
            odd = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
            what = f"{len(odd)} samples have no length, sample {odd[0]} first: {lengths[odd[0]]:g}"
            raise DataError(what, where="source", hint="remove them from the store, or from the source")
        self.count, self.size, self.seed = len(lengths), size, seed
        # a tensor, so that a process gets it in shared memory
        self._order = torch.from_numpy(np.argsort(() if size.unit == "samples" else lengths, kind="stable"))
        self._buckets = self._make_buckets(lengths)
        self.smallest = min(per_batch for _, per_batch in self._buckets)
        counts = [math.ceil(len(members) / per_batch) for members, per_batch in self._buckets]
        self.batches_per_epoch = sum(counts)
        self._starts = np.cumsum([0, *counts])

    def batch(self, step: int) -> GlobalBatch:
        """Returns global batch number ``step``, from 0."""
        epoch, samples = self._of_samples(step) if self.size.unit == "samples" else self._of_length(step)
        return GlobalBatch(step=step, epoch=epoch, samples=samples)

    def _of_samples(self, step: int) -> tuple[int, np.ndarray]:
        n, first, last = self.count, step * self.smallest, (step + 1) * self.smallest
        epochs = range(first // n, (last - 1) // n + 1)  # a batch may span several epochs
        spans = [(epoch, max(first - epoch * n, 0), min(last - epoch * n, n)) for epoch in epochs]
        return epochs[0], np.concatenate([self._shuffled(n, range(*span), "order", epoch) for epoch, *span in spans])

    def _of_length(self, step: int) -> tuple[int, np.ndarray]:
        epoch, position = divmod(step, self.batches_per_epoch)
        slot = int(self._shuffled(self.batches_per_epoch, range(position, position + 1), "batches", epoch)[0])
        bucket = int(np.searchsorted(self._starts, slot, side="right")) - 1
        members, per_batch = self._buckets[bucket]
        # the last batch of a bucket is as large as the others, so it may overlap the batch before it
        start = min((slot - int(self._starts[bucket])) * per_batch, len(members) - per_batch)
        shuffled = self._shuffled(len(members), range(start, start + per_batch), "bucket", epoch, bucket)
        return epoch, self._order.numpy()[members.start + shuffled]

    def _shuffled(self, count: int, places: range, *use: str | int) -> np.ndarray:
        return permute(np.arange(places.start, places.stop), count, key(self.seed, *use))

    def _make_buckets(self, lengths: np.ndarray) -> list[tuple[range, int]]:
        """Returns each bucket's places in the order of lengths and the number of samples in its batches."""
        if self.size.unit == "samples":
            return [(range(self.count), int(self.size.amount))]  # if there are fewer samples, some occur twice
        ascending = np.asarray(lengths)[self._order.numpy()]
        if (longest := ascending[-1]) > self.size.amount:
            what = f"a sample of {longest:g} {self.size.unit} is longer than a whole batch of {self.size.amount:g}"
            hint = "enlarge the batch, or limit the length of the source's samples"
            raise DataError(what, where="training.batch", hint=hint)
        buckets: list[tuple[range, int]] = []
        end = self.count
        while end > 0:  # from the longest down, because a bucket's longest sample determines its batch size
            per_batch = int(self.size.amount // ascending[end - 1])
            if buckets and end * ascending[end - 1] < self.size.amount / 2:
                # the remaining samples fill less than half a batch, so they join the bucket above
                members, per_batch = buckets.pop()
                buckets.append((range(members.stop), per_batch))
                break
            similar = int(np.searchsorted(ascending, ascending[end - 1] / BUCKET_RATIO))
            start = min(similar, max(0, end - per_batch))  # shorter samples fill the batch if too few are similar
            buckets.append((range(start, end), min(per_batch, end - start)))
            end = start
        return buckets
