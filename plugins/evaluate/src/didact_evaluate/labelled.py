"""Labelled samples for training and testing a probe, with one numbering of the classes."""

from __future__ import annotations

import attrs
import numpy as np
import torch
from torch import Tensor

from didact import DataError, Samples, Source
from didact.randomness import generator


@attrs.frozen(kw_only=True, eq=False)
class Labelled:
    """The labelled samples of a source.

    Attributes:
        source: the source of the samples.
        samples: the opened samples of the source.
        indices: (N,) int64; indices of the labelled samples, of all of them or of at most the requested number.
        labels: (N,) int64; the class of each sample.
        classes: names of the classes.
    """

    source: Source
    samples: Samples
    indices: np.ndarray
    labels: Tensor
    classes: tuple[str, ...]


def open_pair(train: Source, test: Source, limit: int | None) -> tuple[Labelled, Labelled]:
    """Opens the samples that a probe is trained on and the samples that it is tested on.

    Args:
        train: the source of the training samples.
        test: the source of the test samples; its classes must be among those of ``train``.
        limit: largest number of samples from each source, the same samples every time. Each class keeps its share, and
            test samples are taken only from classes that the limited training samples contain. None takes all samples.

    Raises:
        DataError: a source has no labels, there is only one class, or no training sample has a class of ``test``.
    """
    known = _open(train, "train")
    asked = _open(test, "test")
    known_names = sorted({known.classes[label] for label in known.labels.tolist()})
    asked_names = {asked.classes[label] for label in asked.labels.tolist()}
    if len(known_names) < 2:
        raise DataError(
            f"all {len(known.labels)} training samples are of the class {known_names[0]!r}",
            where="train",
            hint="a probe needs at least two classes; ingest with other labels, or loosen the source's `where`",
        )
    strange = sorted(asked_names - set(known_names))
    if strange:
        raise DataError(
            f"no training sample has {'the class' if len(strange) == 1 else 'the classes'} "
            f"{', '.join(repr(name) for name in strange[:5])}{' …' if len(strange) > 5 else ''} of `test`",
            where="test",
            hint=f"use the same labels; the training samples have {', '.join(repr(name) for name in known_names[:10])}"
            f"{' …' if len(known_names) > 10 else ''}",
        )
    names = tuple(known_names)
    known, asked = _renumber(known, names), _renumber(asked, names)
    if limit is None:
        return known, asked
    known = _some(known, limit, "train")
    drawn = np.isin(asked.labels.numpy(), known.labels.numpy())
    return known, _some(_chosen(asked, np.flatnonzero(drawn)), limit, "test")


def _open(source: Source, field: str) -> Labelled:
    samples = source.open()
    indices = np.flatnonzero(samples.labels >= 0) if samples.labels is not None else np.zeros(0, dtype=np.int64)
    if samples.labels is None or len(indices) == 0:
        raise DataError(
            f"none of the {len(samples.lengths)} samples has a label",
            where=field,
            hint="ingest them with labels: from folder names, a file-name pattern or a column (`didact ingest --help`)",
        )
    labels = torch.from_numpy(np.ascontiguousarray(samples.labels[indices])).long()
    return Labelled(source=source, samples=samples, indices=indices, labels=labels, classes=samples.classes)


def _renumber(labelled: Labelled, names: tuple[str, ...]) -> Labelled:
    numbers = torch.tensor([names.index(name) if name in names else -1 for name in labelled.classes])
    return attrs.evolve(labelled, labels=numbers[labelled.labels], classes=names)


def _some(labelled: Labelled, limit: int, field: str) -> Labelled:
    """Returns at most ``limit`` samples; each class keeps its share, up to rounding to whole samples."""
    labels = labelled.labels.numpy()
    # always seed 0, not the run's, so that two runs are evaluated on the same samples
    shuffled = torch.randperm(len(labels), generator=generator(0, "probe", field)).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]  # (N,), one class after the other
    sizes = np.bincount(labels)  # (C,)
    classes = labels[by_class]
    numbers = np.arange(len(labels)) - (np.cumsum(sizes) - sizes)[classes]  # (N,), from 0 in each class
    turns = np.argsort((numbers + 0.5) / sizes[classes], kind="stable")
    return _chosen(labelled, np.sort(by_class[turns[:limit]]))


def _chosen(labelled: Labelled, places: np.ndarray) -> Labelled:
    return attrs.evolve(labelled, indices=labelled.indices[places], labels=labelled.labels[places])
