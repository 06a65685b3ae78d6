"""The contracts of data: what turns files into a store, and where samples come from."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import attrs
import torch
from torch import Tensor

from didact.errors import SpecError, did_you_mean
from didact.sounds import Sound
from didact.spec import Spec
from didact.tensors import Batch, Signal

if TYPE_CHECKING:
    import numpy as np


# ── Where samples come from ───────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Source(Spec, abc.ABC):
    """Samples, as an experiment names them.

    Class attributes:
        unit: what `Samples.lengths` counts, in plural: ``seconds``, ``tokens``, ``images``.
        crops: whether a batch's samples are cut to the shortest of them; else they are padded to the longest.
    """

    unit: ClassVar[str]
    crops: ClassVar[bool] = False

    @abc.abstractmethod
    def signal(self) -> Signal:
        """What a sample is."""

    def prepare(self) -> None:
        """Makes what reading needs and the store does not hold yet (a trained tokenizer, say). Once, before `open`."""

    @abc.abstractmethod
    def open(self) -> Samples:
        """The samples. Called in every process that reads; nothing that it opens is ever pickled.

        Raises:
            DataError: the store is missing, incomplete, empty or of another kind.
        """

    def finish(self, batch: Batch) -> Batch:
        """Does to a batch what is better done to many samples at once, where the network computes, before it sees them.

        For training alone, without gradients and without autocast. What happens to a sample follows from its key
        (`View.keys`, `didact.randomness.uniform`), whatever else is in the batch. The default changes nothing.

        Args:
            batch: views whose content (B, *axes) is as `Samples.views` gave it, on the device; keys are on the CPU.

        Returns:
            The batch; its views' content may differ, in values alone.
        """
        return batch

    def raw_features(self, content: Tensor) -> Tensor:
        """A sample's content (*axes) as the plain features (F,) that a classifier would get without any network.

        The control that a representation must beat: pixels, log-mel means, a bag of tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} names no raw features")

    def picture(self, content: Tensor) -> Tensor | None:
        """A sample's content (*axes) as an image, (H, W, 3) uint8, for people to look at; None where that is no use."""
        return None

    def sound(self, content: Tensor) -> Sound | None:
        """A sample's content (*axes) for people to listen to; None where there is nothing to hear."""
        return None

    def words(self, content: Tensor) -> tuple[str, ...] | None:
        """A sample's content as text: one string for each of its ids (T,) int64; None where the values are no words.

        Joined by nothing they are the text, so a word brings the space before it along.
        """
        return None


@attrs.frozen(kw_only=True)
class Augmentation(Spec, abc.ABC):
    """Makes what training sees of a sample.

    It stands in a field of a source, so that a method can bring views of its own to a source of another distribution.
    What a sample is before that, is its source's to say: one of images hands over (3, H, W) uint8.

    It has two halves, as an encoder has. `views` runs in the loader's workers, sample by sample, whatever the samples'
    sizes. `finish` runs where the network computes, on a view of a whole batch.

    Class attributes:
        finishes: whether there is anything to `finish`.
    """

    finishes: ClassVar[bool] = False

    @abc.abstractmethod
    def views(self, sample: Tensor, size: int, *, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The views of a sample, as many for each sample.

        Args:
            sample: (*axes), whole, of any size.
            size: of a view, where the augmentation says nothing else: the side of an image in pixels.
            generator: of the sample; nothing else is random.

        Returns:
            one or more views, each (*axes); they may differ in size from each other, not from sample to sample.
        """

    def finish(self, content: Tensor, view: int, keys: Tensor) -> Tensor:
        """What remains to be done to one view of a batch; see `Source.finish`.

        Args:
            content: (B, *axes) of the view; of images, (B, 3, H, W) float32 from 0 to 1. On the device.
            view: which of those that `views` makes.
            keys: (B,) int64, on the CPU; of the samples. Nothing else is random.

        Returns:
            The content, of the same shape and in the same range.
        """
        return content

    def shortest(self, size: int) -> int | None:
        """How long a sample's shorter side must be so that a larger one would give no sharper view.

        A source may then decode less of it. None, the default: it is handed over whole.

        Args:
            size: as for `views`.
        """
        return None


class Samples(abc.ABC):
    """The opened samples of a source.

    Attributes:
        lengths: (N,) float64; every sample's length in the source's unit.
        labels: (N,) int64 or None; each sample's class. Training never reads it.
        classes: the names of the classes.
        fingerprint: SHA-256 of what the samples are; equal samples, equal fingerprint.
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
            length: in the source's unit, what the samples of this batch are cut to; None where they are not.
            generator: keyed by (seed, step, sample).

        Raises:
            DataError: the record cannot be read; names it.
        """

    @abc.abstractmethod
    def content(self, index: int) -> Tensor:
        """The whole sample (*axes), without augmentation, as an evaluation sees it."""

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """The sample's name as its user knows it: a file, a row."""


# ── What turns files into a store ─────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True, eq=False)
class Record:
    """One sample on its way into a store.

    Attributes:
        data: the media's own compressed bytes, untouched; text as UTF-8.
        length: in the medium's unit.
        fields: what is known of it: ``label``, and whatever a file-name pattern or a column gave.
        name: where it came from.
        suspect: what makes it doubtful, though it can be read, such that "they are …" makes sense: ``silent``. It is
            kept, and becomes the field ``suspect``: the summary of the ingestion tells of it, and a source leaves it
            out with ``where="suspect != silent"``. Empty for nearly all.
        fault: why it cannot be taken, where the rest of its file can: a row with a mistake in it. It is listed by its
            name, as a file is that cannot be read, and skipped. Empty for all that are kept.
    """

    data: bytes
    length: float
    name: str
    fields: Mapping[str, str] = attrs.field(factory=dict)
    suspect: str = ""
    fault: str = ""


class Medium(abc.ABC):
    """A kind of file that ``didact ingest`` understands.

    Class attributes:
        kind: the word that stands in the store and on the command line, in plural: ``images``.
        unit: what a record's length counts.
        suffixes: the file names that are looked at, lower-case with their dot; others are passed over.
        options: what ``--option name=value`` may say: names, each with the values that it may have, or with none of
            them where it may have any. A medium that names none has no options.
    """

    kind: ClassVar[str]
    unit: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def check_options(self, options: Mapping[str, str]) -> None:
        """Looks at the options once, before any file is listed or read and before there is a store.

        The default compares them with `options`; a medium with more to say of a value calls it first.

        Args:
            options: the command line's ``--option name=value``.

        Raises:
            SpecError: there is no such option, or it cannot have this value.
        """
        for name, value in options.items():
            if name not in self.options:
                known = f", only {', '.join(sorted(self.options))}" if self.options else ", nor any other"
                raise SpecError(
                    f"`didact ingest {self.kind}` has no option {name!r}{known}",
                    where=f"--option {name}={value}",
                    mend=did_you_mean(name, self.options) if self.options else "leave out --option",
                )
            choices = self.options[name]
            if choices and value not in choices:
                raise SpecError(
                    f"the option {name} must be one of {', '.join(choices)}, got {value!r}",
                    where=f"--option {name}={value}",
                    mend=did_you_mean(value, choices),
                )

    @abc.abstractmethod
    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        """Checks one file and takes it apart. Runs in a worker process.

        Args:
            data: the file's bytes.
            name: its name, for messages.
            options: the command line's ``--option name=value``, as `check_options` let them pass.

        Returns:
            What is in it. A part that cannot be taken has a `Record.fault`, and one that can but hardly is what was
            meant says why in `Record.suspect`.

        Raises:
            DataError: the file cannot be read; it is listed with this reason and skipped.
        """

    def describe(self, record: Record) -> str:
        """One line about a record, for ``didact inspect``."""
        return f"{record.name}  {record.length:g} {self.unit}"
