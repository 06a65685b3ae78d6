"""Labelled samples to train and to test a probe on: opened, checked, and brought to the same classes."""

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
        source: that they come from.
        samples: as it opens them.
        indices: (N,) int64; those that have a label, all of them or so many as were asked for.
        labels: (N,) int64; each one's class.
        classes: the names of the classes.
    """

    source: Source
    samples: Samples
    indices: np.ndarray
    labels: Tensor
    classes: tuple[str, ...]


def open_pair(train: Source, test: Source, limit: int | None) -> tuple[Labelled, Labelled]:
    """The samples that a probe is trained on, and those that it is tested on.

    Args:
        train: a source.
        test: another, whose classes are among those of ``train``.
        limit: of each, at most so many, of each class its share; the same ones every time. What is tested is then of
            classes that are trained on.

    Raises:
        DataError: a source has no labels; there is only one class; a class is tested that no training sample has.
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
            f"{', '.join(repr(name) for name in strange[:5])}{' …' if len(strange) > 5 else ''} that `test` asks for",
            where="test",
            hint=f"label both alike; the training samples have {', '.join(repr(name) for name in known_names[:10])}"
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
    """At most ``limit`` samples, of each class its share as far as whole samples go."""
    labels = labelled.labels.numpy()
    # of seed 0 whatever the run's: two runs are then judged by the same samples
    shuffled = torch.randperm(len(labels), generator=generator(0, "probe", field)).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]  # (N,), one class after the other
    sizes = np.bincount(labels)  # (C,)
    classes = labels[by_class]
    numbers = np.arange(len(labels)) - (np.cumsum(sizes) - sizes)[classes]  # (N,), from 0 in each class
    turns = np.argsort((numbers + 0.5) / sizes[classes], kind="stable")
    return _chosen(labelled, np.sort(by_class[turns[:limit]]))


def _chosen(labelled: Labelled, places: np.ndarray) -> Labelled:
    return attrs.evolve(labelled, indices=labelled.indices[places], labels=labelled.labels[places])
