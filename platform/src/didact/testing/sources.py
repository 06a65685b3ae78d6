"""What every source promises."""

from __future__ import annotations

import numpy as np
import torch

from didact.contracts import Samples, Source
from didact.tensors import Signal
from didact.testing.closeness import untouched_randomness


def check_source(source: Source, most: int = 4) -> None:
    """Opens a source and looks at some samples.

    Args:
        source: to check; its store must be there.
        most: how many samples to look at.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    source.prepare()
    signal, samples = source.signal(), source.open()
    count = len(samples.lengths)
    assert count >= 1, "there is a sample"
    assert isinstance(type(source).unit, str), "unit names what lengths count"
    assert samples.lengths.dtype == np.float64, f"lengths are float64, got {samples.lengths.dtype}"
    assert bool((samples.lengths > 0).all()), "every sample has a length"
    if samples.labels is not None:
        assert samples.labels.shape == (count,), "there is a label for every sample"
        assert 0 <= int(samples.labels.min()) <= int(samples.labels.max()) < len(samples.classes), "labels are classes"
    assert samples.fingerprint == source.open().fingerprint, "the same samples have the same fingerprint"
    for index in range(min(most, count)):
        _check_sample(source, samples, index, signal)


def _check_sample(source: Source, samples: Samples, index: int, signal: Signal) -> None:
    def draw(seed: int) -> tuple[torch.Tensor, ...]:
        length = float(samples.lengths.min()) if type(source).crops else None
        return samples.views(index, length=length, generator=torch.Generator().manual_seed(seed))

    with untouched_randomness("views are drawn from the generator alone"):
        views = draw(0)
    assert views, "a sample has a view"
    for view, again, other in zip(views, draw(0), draw(1), strict=True):
        _check_content(view, signal)
        assert torch.equal(view, again), "the same generator gives the same view"
        assert view.ndim == other.ndim, "views of one source have the same axes"
    content = samples.content(index)
    _check_content(content, signal)
    assert torch.equal(content, samples.content(index)), "content does not change from one look to the next"
    assert samples.name(index), "a sample has a name that its user knows"
    try:
        raw = source.raw_features(content)
    except NotImplementedError:
        pass
    else:
        assert raw.ndim == 1, f"raw features are (F,), got {tuple(raw.shape)}"
        assert bool(raw.isfinite().all()), "raw features are finite"
    picture = source.picture(content)
    if picture is not None:
        assert picture.dtype == torch.uint8, "a picture is uint8"
        assert picture.ndim == 3, "a picture is (H, W, 3)"
        assert picture.shape[-1] == 3, "a picture is (H, W, 3)"


def _check_content(content: torch.Tensor, signal: Signal) -> None:
    assert content.ndim == len(signal.axes), f"content has the signal's axes {signal.axes}, got {tuple(content.shape)}"
    for size, axis in zip(content.shape, signal.axes, strict=True):
        assert axis is None or size == axis, f"content has the signal's axes {signal.axes}, got {tuple(content.shape)}"
    if signal.vocabulary is not None:
        assert content.dtype == torch.int64, "ids are int64"
        assert 0 <= int(content.min()) <= int(content.max()) < signal.vocabulary, "ids are in the vocabulary"
    else:
        assert content.is_floating_point(), "values are floats"
        assert bool(content.isfinite().all()), "values are finite"
