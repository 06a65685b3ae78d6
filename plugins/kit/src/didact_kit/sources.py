"""The rules that every source must follow."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch

from didact.contracts.data import Samples, Source
from didact.tensors import Batch, Signal, View
from didact_kit.closeness import assert_close, untouched_randomness
from didact_kit.examples import Case
from didact_kit.rules import NotJudged
from didact_kit.specs import variants

MOST = 4  # largest number of samples to read
DRAWS = 8  # generators that the views of a sample are drawn from
READINGS = 6  # a counter of a period up to this shows within so many readings


def check_samples(case: Case) -> None:
    """Checks that there are samples with lengths, names, a fingerprint, and classes if there are labels."""
    source, samples = case.spec, case.samples
    count = len(samples.lengths)
    assert count >= 1, "there is no sample"
    assert isinstance(type(source).unit, str), f"unit must name what lengths count, got {type(source).unit!r}"
    assert samples.lengths.dtype == np.float64, f"lengths must be float64, got {samples.lengths.dtype}"
    assert bool((samples.lengths > 0).all()), "a sample has a length of 0 or less"
    if samples.labels is not None:
        assert samples.labels.shape == (count,), f"there are {samples.labels.shape} labels for {count} samples"
        least, most = int(samples.labels.min()), int(samples.labels.max())
        assert -1 <= least <= most < len(samples.classes), (
            f"labels range from {least} to {most}, and the classes are {samples.classes}"
        )
    again = source.open().fingerprint
    assert samples.fingerprint == again, f"two calls of open give the fingerprints {samples.fingerprint} and {again}"
    for other in filter(None, map(_opened, variants(source))):
        same = len(other.lengths) == count or other.fingerprint != samples.fingerprint
        assert same, f"{len(other.lengths)} samples have the fingerprint of these {count}"
    nameless = [index for index in range(min(MOST, count)) if not samples.name(index)]
    assert not nameless, f"samples {nameless} have no name"


def check_shapes(case: Case) -> None:
    """Checks that views and contents have the signal's shape and type."""
    samples, signals, first = case.samples, case.spec.signals(), list[tuple[int, ...]]()
    count = 0
    for index in range(min(MOST, len(samples.lengths))):
        views = _draw(case.spec, samples, index, 0)
        assert views, f"sample {index} has no view"
        assert len(signals) in (1, len(views)), f"sample {index} has {len(views)} views, and signals are {len(signals)}"
        for number, view in enumerate(views):
            _check_content(view, signals[number if len(signals) > 1 else 0], "a view", smaller=True)
        _check_content(samples.content(index), signals[0], "the content")
        shapes = [tuple(view.shape) for view in views]
        count = count or len(views)
        assert len(views) == count, f"sample 0 has {count} views, and sample {index} has {len(views)}"
        first = first or shapes
        assert shapes == first or not type(case.spec).crops, (
            f"crops is True, and views of two samples of one length are {first} and {shapes}"
        )


def check_determinism(case: Case) -> None:
    """Checks that views depend only on the generator, and that contents do not change.

    What is read is compared with copies: a source may hand out a sample that it keeps, and change it later.
    """
    source, samples = case.spec, case.samples
    others = source.open()
    for index in range(min(MOST, len(samples.lengths))):
        with untouched_randomness(f"views of sample {index}"):
            views = _copies(_draw(source, samples, index, 0))
        content = samples.content(index).clone()
        for _ in range(READINGS if index == 0 else 2):  # a counter of a small period shows within so many readings
            for one, again in zip(views, _draw(source, samples, index, 0), strict=True):
                assert torch.equal(one, again), f"two views of sample {index} from one seed differ"
            _draw(source, samples, index, 1)
            assert torch.equal(content, samples.content(index)), (
                f"the content of sample {index} changes from one reading to the next"
            )
        for one, again in zip(views, _draw(source, others, index, 0), strict=True):
            assert torch.equal(one, again), (
                f"views of sample {index} from one seed differ after opening the source anew"
            )
        assert torch.equal(content, others.content(index)), (
            f"opened anew, the source gives sample {index} another content"
        )


def check_difference(case: Case) -> None:
    """Checks that ``views`` draws from the generator that it is given: none that it makes itself replaces it."""
    samples = case.samples
    for index in range(min(MOST, len(samples.lengths))):
        first, *others = (_copies(_draw(case.spec, samples, index, seed)) for seed in range(DRAWS))
        if any(not torch.equal(one, its) for other in others for one, its in zip(first, other, strict=True)):
            return
        with _counted() as of_content:
            samples.content(index)
        with _counted() as of_views:
            _draw(case.spec, samples, index, 0)
        made = len(of_views) - len(of_content) - 1  # one is handed to `views`
        assert made <= 0, f"{DRAWS} generators give the same views of sample {index}, and views makes one of its own"
    raise NotJudged("it draws nothing")


@contextlib.contextmanager
def _counted() -> Iterator[list[str]]:
    """Records the random generators that are made inside the block."""
    made: list[str] = []

    def counting(name: str, make: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            return make(*args, **kwargs)

        return counted

    with contextlib.ExitStack() as patches:
        for place, name in ((torch, "Generator"), (np.random, "default_rng"), (random, "Random")):
            patches.enter_context(mock.patch.object(place, name, counting(name, getattr(place, name))))
        yield made


def check_fields(case: Case) -> None:
    """Checks that the fields of samples have the axes and the classes that `Samples.fields` describes."""
    samples = case.samples
    if not samples.fields:
        raise NotJudged("its samples have no fields")
    for name, field in samples.fields.items():
        for index in range(min(MOST, len(samples.lengths))):
            value, again = samples.field(index, name).clone(), samples.field(index, name)
            where, got = f"the field {name!r} of sample {index}", tuple(value.shape)
            fits = len(got) == len(field.axes) and all(
                axis is None or size == axis for size, axis in zip(got, field.axes, strict=True)
            )
            assert fits, f"{where} is {got}, and its axes are {field.axes}"
            right = value.dtype in (torch.int64, torch.float32)
            assert right, f"{where} must be int64 or float32, got {value.dtype}"
            if field.classes and value.numel():
                assert value.dtype == torch.int64, f"{where} has classes, and must be int64, got {value.dtype}"
                least, most = int(value.min()), int(value.max())
                assert -1 <= least <= most < len(field.classes), (
                    f"{where} has ids from {least} to {most}, and there are {len(field.classes)} classes"
                )
            assert torch.equal(value, again), f"{where} changes from one reading to the next"


def check_reading(case: Case) -> None:
    """Checks that `Source.read` of a file gives the sample's content, and that `Source.whole` keeps the signal."""
    samples, source = case.samples, case.spec
    if not case.example.files:
        raise NotJudged("no example gives files=… to compare `read` with, or it reads no files")
    signal, whole = source.signal(), source.whole().signal()
    assert signal == whole, f"the signal is {signal}, and that of `whole` is {whole}"
    names = [samples.name(index) for index in range(len(samples.lengths))]
    for name, data in case.example.files.items():
        content, read = samples.content(names.index(name)), source.read(data, name)
        assert torch.equal(content, read), f"read gives something else for {name} than content of its sample"


def check_features(case: Case) -> None:
    """Checks raw features (F,), images (H, W, 3) uint8, audio (S,) in ±1, and one word per id."""
    samples, seen = case.samples, 0
    for index in range(min(MOST, len(samples.lengths))):
        content = samples.content(index)
        try:
            raw = case.spec.raw_features(content)
        except NotImplementedError:
            pass
        else:
            seen += 1
            assert raw.ndim == 1, f"raw features must be (F,), got {tuple(raw.shape)}"
            assert bool(raw.isfinite().all()), "raw features are not finite"
        if (image := case.spec.image(content)) is not None:
            seen += 1
            assert image.dtype == torch.uint8, f"an image must be uint8, got {image.dtype}"
            assert image.ndim == 3, f"an image must be (H, W, 3), got {tuple(image.shape)}"
            assert image.shape[-1] == 3, f"an image must be (H, W, 3), got {tuple(image.shape)}"
        if (audio := case.spec.audio(content)) is not None:
            seen += 1
            _check_audio(*audio)
        if (words := case.spec.words(content)) is not None:
            seen += 1
            assert len(words) == len(content), f"there are {len(words)} words for {len(content)} ids"
            assert all(isinstance(word, str) for word in words), f"words must be str, got {words[:4]}"
    if not seen:
        raise NotJudged("it has neither raw features nor images, audio or words")


def check_finish(case: Case) -> None:
    """Checks that `Source.finish` of a batch gives the same result as for each sample alone."""
    source: Source = case.spec
    if type(source).finish is Source.finish:
        raise NotJudged("it does not override finish")
    batch = case.batch(masked=False)
    before = [view.content.clone() for view in batch.views]
    with untouched_randomness("finish"):
        whole, again = source.finish(batch), source.finish(batch)
    for number, (view, given) in enumerate(zip(batch.views, before, strict=True)):
        done = whole.views[number].content
        if not torch.equal(view.content, given):
            raise NotJudged(f"it changes view {number} of the given batch in place, which the rule 'inputs' reports")
        assert done.shape == given.shape, (
            f"view {number} is {tuple(given.shape)} before finish and {tuple(done.shape)} after it"
        )
        assert done.dtype == given.dtype, f"view {number} is {given.dtype} before finish and {done.dtype} after it"
        assert torch.equal(done, again.views[number].content), f"two calls of finish give two results for view {number}"
        for row in range(len(batch.ids)):
            alone = source.finish(_alone(batch, row)).views[number].content[0]
            assert_close(done[row], alone, f"sample {row} of view {number}, finished beside others and alone")


def _opened(source: Any) -> Samples | None:
    try:
        opened: Samples = source.open()
        return opened
    except Exception:  # foreign code, which need not be able to open another source
        return None


def _check_audio(samples: torch.Tensor, rate_hz: int) -> None:
    """Checks that audio is (S,) floats in ±1 with a sample rate."""
    got = tuple(samples.shape)
    assert len(got) == 1, f"audio must be (S,), got {got}"
    assert samples.is_floating_point(), f"audio must be floats, got {samples.dtype}"
    assert bool(samples.isfinite().all()), "audio is not finite"
    loudest = float(samples.abs().max()) if len(samples) else 0.0
    assert loudest <= 1, f"audio reaches {loudest:g}, and full scale is 1"
    assert rate_hz >= 1, f"the sample rate of audio is {rate_hz} Hz"


def _alone(batch: Batch, row: int) -> Batch:
    """Extracts one sample of an unmasked batch as its own batch, with the same padding."""
    views = [
        View(
            content=view.content[row : row + 1],
            layout=view.layout,
            padding=_row(view.padding, row),
            lengths=_row(view.lengths, row),
            keys=_row(view.keys, row),
        )
        for view in batch.views
    ]
    return Batch(views=tuple(views), ids=batch.ids[row : row + 1])


def _row(values: torch.Tensor | None, row: int) -> torch.Tensor | None:
    return None if values is None else values[row : row + 1]


def _copies(views: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [view.clone() for view in views]


def _draw(source: Source, samples: Samples, index: int, seed: int) -> tuple[torch.Tensor, ...]:
    length = float(samples.lengths.min()) if type(source).crops else None
    return samples.views(index, length=length, generator=torch.Generator().manual_seed(seed))


def _check_content(content: torch.Tensor, signal: Signal, what: str, *, smaller: bool = False) -> None:
    """Checks shape and type; ``smaller`` allows smaller sizes after the first axis, as those of DINO's local views."""
    got = tuple(content.shape)
    fits = len(got) == len(signal.axes) and all(
        axis is None or size == axis or (smaller and number and size < axis)
        for number, (size, axis) in enumerate(zip(got, signal.axes, strict=True))
    )
    assert fits, f"{what} is {got}, and the signal's axes are {signal.axes}"
    named = len(signal.columns)
    assert named in (0, got[-1]), f"{what} has {got[-1]} columns, and the signal names {named}: {signal.columns[:4]}…"
    if signal.vocabulary is not None:
        assert content.dtype == torch.int64, f"ids must be int64, got {content.dtype}"
        least, most = int(content.min()), int(content.max())
        assert 0 <= least <= most < signal.vocabulary, f"ids are {least} to {most}, of {signal.vocabulary}"
    else:
        assert content.is_floating_point(), f"values must be floats, got {content.dtype}"
        assert bool(content.isfinite().all()), "values are not finite"
