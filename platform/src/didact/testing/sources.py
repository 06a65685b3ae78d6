"""What every source promises."""

from __future__ import annotations

import numpy as np
import torch

from didact.contracts import Samples, Source
from didact.sounds import Sound
from didact.tensors import Signal
from didact.testing.closeness import assert_close, untouched_randomness
from didact.testing.examples import Case
from didact.testing.rules import NotJudged

MOST = 4  # samples looked at


def check_samples(case: Case) -> None:
    """There are samples with lengths, names, a fingerprint, and where they have labels, classes."""
    source, samples = case.spec, case.samples
    count = len(samples.lengths)
    assert count >= 1, "there is no sample"
    assert isinstance(type(source).unit, str), f"unit names what lengths count, got {type(source).unit!r}"
    assert samples.lengths.dtype == np.float64, f"lengths are float64, not {samples.lengths.dtype}"
    assert bool((samples.lengths > 0).all()), "a sample has no length"
    if samples.labels is not None:
        assert samples.labels.shape == (count,), f"there are {samples.labels.shape} labels for {count} samples"
        least, most = int(samples.labels.min()), int(samples.labels.max())
        assert 0 <= least <= most < len(samples.classes), (
            f"labels go from {least} to {most}, classes are {samples.classes}"
        )
    again = source.open().fingerprint
    assert samples.fingerprint == again, f"opened twice, its fingerprints are {samples.fingerprint} and {again}"
    nameless = [index for index in range(min(MOST, count)) if not samples.name(index)]
    assert not nameless, f"samples {nameless} have no name"


def check_shapes(case: Case) -> None:
    """Views and contents are what the signal says."""
    samples, signal = case.samples, case.spec.signal()
    for index in range(min(MOST, len(samples.lengths))):
        views = _draw(case.spec, samples, index, 0)
        assert views, f"sample {index} has no view"
        for content in (*views, samples.content(index)):
            _check_content(content, signal)


def check_determinism(case: Case) -> None:
    """The same generator gives the same views, nothing else is drawn from, and contents do not change."""
    samples = case.samples
    for index in range(min(MOST, len(samples.lengths))):
        with untouched_randomness(f"views of sample {index}"):
            views = _draw(case.spec, samples, index, 0)
        for one, again in zip(views, _draw(case.spec, samples, index, 0), strict=True):
            assert torch.equal(one, again), f"two views of sample {index} from one seed differ"
        content, again = samples.content(index), samples.content(index)
        assert torch.equal(content, again), f"the content of sample {index} changes from one look to the next"


def check_features(case: Case) -> None:
    """Raw features are (F,) and finite, pictures (H, W, 3) uint8, sounds (S,) in ±1, words one for each id."""
    samples, seen = case.samples, 0
    for index in range(min(MOST, len(samples.lengths))):
        content = samples.content(index)
        try:
            raw = case.spec.raw_features(content)
        except NotImplementedError:
            pass
        else:
            seen += 1
            assert raw.ndim == 1, f"raw features are (F,), got {tuple(raw.shape)}"
            assert bool(raw.isfinite().all()), "raw features are not finite"
        if (picture := case.spec.picture(content)) is not None:
            seen += 1
            assert picture.dtype == torch.uint8, f"a picture is uint8, not {picture.dtype}"
            assert picture.ndim == 3, f"a picture is (H, W, 3), got {tuple(picture.shape)}"
            assert picture.shape[-1] == 3, f"a picture is (H, W, 3), got {tuple(picture.shape)}"
        if (sound := case.spec.sound(content)) is not None:
            seen += 1
            check_sound(sound, "a sound")
        if (words := case.spec.words(content)) is not None:
            seen += 1
            assert len(words) == len(content), f"there are {len(words)} words for {len(content)} ids"
            assert all(isinstance(word, str) for word in words), f"words are str, got {words[:4]}"
    if not seen:
        raise NotJudged("it has neither raw features nor pictures, sounds or words")


def check_finish(case: Case) -> None:
    """A finished batch is its samples, each finished alone."""
    from didact.record.bundle import sample_alone  # here: it brings what reads checkpoints along

    source: Source = case.spec
    if type(source).finish is Source.finish:
        raise NotJudged("it finishes nothing")
    batch = case.batch(masked=False)
    before = [view.content.clone() for view in batch.views]
    with untouched_randomness("finish"):
        whole, again = source.finish(batch), source.finish(batch)
    for number, (view, given) in enumerate(zip(batch.views, before, strict=True)):
        done = whole.views[number].content
        assert torch.equal(view.content, given), f"it writes into view {number} of the batch that it was given"
        assert done.shape == given.shape, f"view {number} is {tuple(given.shape)}, and finished {tuple(done.shape)}"
        assert done.dtype == given.dtype, f"view {number} is of {given.dtype}, and finished of {done.dtype}"
        assert torch.equal(done, again.views[number].content), f"finished twice, view {number} differs"
        for row in range(len(batch.ids)):
            alone = source.finish(sample_alone(batch, row)).views[number].content[0]
            assert_close(done[row], alone, f"sample {row} of view {number}, finished among others and alone")


def check_sound(sound: Sound, what: str) -> None:
    """A sound is (S,) floats in ±1, with its rate.

    Raises:
        AssertionError: ``what`` is not.
    """
    got = tuple(sound.samples.shape)
    assert len(got) == 1, f"{what} is (S,), got {got}"
    assert sound.samples.is_floating_point(), f"{what} is of floats, not of {sound.samples.dtype}"
    assert bool(sound.samples.isfinite().all()), f"{what} is not finite"
    loudest = float(sound.samples.abs().max()) if len(sound.samples) else 0.0
    assert loudest <= 1, f"{what} reaches {loudest:g}, and full scale is 1"
    assert sound.rate_hz >= 1, f"the rate of {what} is {sound.rate_hz} Hz"


def _draw(source: Source, samples: Samples, index: int, seed: int) -> tuple[torch.Tensor, ...]:
    length = float(samples.lengths.min()) if type(source).crops else None
    return samples.views(index, length=length, generator=torch.Generator().manual_seed(seed))


def _check_content(content: torch.Tensor, signal: Signal) -> None:
    got = tuple(content.shape)
    fits = len(got) == len(signal.axes) and all(
        axis is None or size == axis for size, axis in zip(got, signal.axes, strict=True)
    )
    assert fits, f"content is {got}, and the signal's axes are {signal.axes}"
    if signal.vocabulary is not None:
        assert content.dtype == torch.int64, f"ids are int64, not {content.dtype}"
        least, most = int(content.min()), int(content.max())
        assert 0 <= least <= most < signal.vocabulary, f"ids go from {least} to {most}, of {signal.vocabulary}"
    else:
        assert content.is_floating_point(), f"values are floats, not {content.dtype}"
        assert bool(content.isfinite().all()), "values are not finite"
