"""The contracts of data: sources and their samples."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor

from didact.errors import SpecError
from didact.spec import Spec
from didact.tensors import Batch, Field, Signal


@attrs.frozen(kw_only=True)
class Source(Spec, abc.ABC):
    """The samples of an experiment.

    Class attributes:
        unit: the unit of `Samples.lengths`, in the plural: ``seconds``, ``tokens``, ``images``.
        crops: whether a batch's samples are cropped to the shortest one; otherwise they are padded to the longest.
    """

    unit: ClassVar[str]
    crops: ClassVar[bool] = False

    @abc.abstractmethod
    def signal(self) -> Signal:
        """Returns the description of the samples."""

    def signals(self) -> tuple[Signal, ...]:
        """Returns the description of each view if the views differ, such as an image and its caption; otherwise one."""
        return (self.signal(),)

    def prepare(self) -> None:
        """Makes what reading needs and the store lacks, such as a trained tokenizer. Called once, before `open`."""

    @abc.abstractmethod
    def open(self) -> Samples:
        """Opens the samples. Called in every process that reads; the opened samples are never pickled.

        Raises:
            DataError: the store is missing, incomplete, empty or of another kind.
        """

    def read(self, data: bytes, name: str) -> Tensor:
        """Returns the content (*axes) of a file, exactly as `Samples.content` gives it for a sample of these bytes.

        Raises:
            DataError: the file cannot be read; names the file, ``name``.
        """
        raise SpecError(f"{type(self).__name__} cannot read single files", hint="define `read` in it")

    def whole(self) -> Source:
        """Returns this source without conditions, length filters, crops and augmentation, for use after training."""
        raise SpecError(f"{type(self).__name__} has no form for use after training", hint="define `whole` in it")

    def assets(self) -> Mapping[str, Path]:
        """Returns the files that `signal` and `read` need, such as a tokenizer, by file name; a run keeps copies.

        Called after `prepare`.
        """
        return {}

    def with_assets(self, assets: Mapping[str, Path]) -> Source:
        """Returns this source with the files of `assets` in other places, such as a run's folder."""
        return self

    def finish(self, batch: Batch) -> Batch:
        """Completes a batch on the device before the network sees it, with operations that are faster on whole batches.

        Called only in training, without gradients and without autocast. The result for a sample may depend only on the
        sample's key (`View.keys`, on the CPU; `didact.randomness.uniform`). Only the values of the views' content
        (B, *axes) may change; the default changes nothing.
        """
        return batch

    def raw_features(self, content: Tensor) -> Tensor:
        """Returns the features (F,) of a sample's content (*axes) that a classifier would use without a network.

        They are the baseline that a representation must beat: pixels, log-mel means, a bag of tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} has no raw features")

    def image(self, content: Tensor) -> Tensor | None:
        """Renders a sample's content (*axes) as an image (H, W, 3) uint8; None if the source has no images."""
        return None

    def audio(self, content: Tensor) -> tuple[Tensor, int] | None:
        """Converts a sample's content (*axes) to mono audio (S,) float in ±1 and its rate in Hz; None without audio."""
        return None

    def words(self, content: Tensor) -> tuple[str, ...] | None:
        """Converts a sample's content to text, one string for each of its ids (T,) int64; None if it is not text.

        The concatenated strings are the text, so a word includes the space before it.
        """
        return None


class Samples(abc.ABC):
    """The opened samples of a source.

    Attributes:
        lengths: (N,) float64; every sample's length in the source's unit. May be memory-mapped.
        labels: (N,) int64 or None; each sample's class, -1 for none. In training, `field` alone gives them.
        classes: the names of the classes.
        fingerprint: SHA-256 of the samples; equal samples have equal fingerprints.
    """

    lengths: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    fingerprint: str

    @property
    def fields(self) -> Mapping[str, Field]:
        """The values beside the content that `field` returns, by name; by default ``label`` if there are labels."""
        return {} if self.labels is None else {"label": Field(classes=self.classes)}

    def field(self, index: int, name: str) -> Tensor:
        """Returns one of the `fields` of a sample (*axes): int64 ids, -1 for none, or float32 numbers.

        Called in training only for the fields that the target builder asks for (`TargetBuilder.fields`).
        """
        assert self.labels is not None
        return torch.as_tensor(int(self.labels[index]))

    @abc.abstractmethod
    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Returns the views of one sample for training, cropped and augmented; each (*axes).

        Args:
            index: the sample's index.
            length: the length to which this batch's samples are cropped, in the source's unit; None does not crop.
            generator: a generator that is keyed by (seed, step, sample).

        Raises:
            DataError: the record cannot be read; the error names the record.
        """

    @abc.abstractmethod
    def content(self, index: int) -> Tensor:
        """Returns the whole sample (*axes), without augmentation, for evaluations."""

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """Returns the sample's name for users, such as a file or a row."""
