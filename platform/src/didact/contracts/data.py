"""The contracts of data: where samples come from."""

from __future__ import annotations

import abc
from typing import ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor

from didact.spec import Spec
from didact.tensors import Audio, Batch, Signal


@attrs.frozen(kw_only=True)
class Source(Spec, abc.ABC):
    """The samples of an experiment.

    Class attributes:
        unit: of `Samples.lengths`, in plural: ``seconds``, ``tokens``, ``images``.
        crops: whether a batch's samples are cut to the shortest of them; else they are padded to the longest.
    """

    unit: ClassVar[str]
    crops: ClassVar[bool] = False

    @abc.abstractmethod
    def signal(self) -> Signal:
        """The description of a sample."""

    def prepare(self) -> None:
        """Makes what reading needs and the store lacks, such as a trained tokenizer. Called once, before `open`."""

    @abc.abstractmethod
    def open(self) -> Samples:
        """The samples. Called in every process that reads; what it opens is never pickled.

        Raises:
            DataError: the store is missing, incomplete, empty or of another kind.
        """

    def finish(self, batch: Batch) -> Batch:
        """Completes a batch on the device, before the network sees it: what is better done to many samples at once.

        For training alone, without gradients and without autocast. What happens to a sample depends on its key alone
        (`View.keys`, on the CPU; `didact.randomness.uniform`). Only the values of the views' content (B, *axes) may
        change; the default changes nothing.
        """
        return batch

    def raw_features(self, content: Tensor) -> Tensor:
        """The plain features (F,) of a sample's content (*axes) that a classifier would get without any network.

        The control that a representation must beat: pixels, log-mel means, a bag of tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} has no raw features")

    def image(self, content: Tensor) -> Tensor | None:
        """A sample's content (*axes) as an image (H, W, 3) uint8 to look at; None where there is none."""
        return None

    def audio(self, content: Tensor) -> Audio | None:
        """A sample's content (*axes) as audio to listen to; None where there is none."""
        return None

    def words(self, content: Tensor) -> tuple[str, ...] | None:
        """A sample's content as text: one string for each of its ids (T,) int64; None where it is no text.

        Concatenated, the strings are the text, so a word includes the space before it.
        """
        return None


class Samples(abc.ABC):
    """The opened samples of a source.

    Attributes:
        lengths: (N,) float64; every sample's length in the source's unit.
        labels: (N,) int64 or None; each sample's class. Training never reads it.
        classes: the names of the classes.
        fingerprint: SHA-256 of the samples; equal samples have equal fingerprints.
    """

    lengths: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    fingerprint: str

    @abc.abstractmethod
    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The views of one sample that training sees, cropped and augmented; each (*axes).

        Args:
            index: of the sample.
            length: to which the samples of this batch are cut, in the source's unit; None where they are not cut.
            generator: keyed by (seed, step, sample).

        Raises:
            DataError: the record cannot be read; names it.
        """

    @abc.abstractmethod
    def content(self, index: int) -> Tensor:
        """The whole sample (*axes), without augmentation, as an evaluation sees it."""

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """The sample's name for its user: a file, a row."""
