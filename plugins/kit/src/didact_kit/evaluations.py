"""The rules that every evaluation must follow, checked on the experiment's untrained networks on the CPU."""

from __future__ import annotations

import functools
import math

import torch

from didact.building import build_network
from didact.experiment import Report, RunState
from didact_kit.closeness import assert_states, persistent, untouched_randomness
from didact_kit.examples import Case
from didact_kit.sources import check_audio


def check_report(case: Case) -> None:
    """Checks that the report has metrics, images, texts or audio, each of the right shape and type."""
    report = _evaluate(case)
    some = (report.metrics, report.images, report.texts, report.audio)
    assert any(some), "the report holds neither a metric nor an image, a text or audio"
    for name, value in report.metrics.items():
        assert isinstance(value, float), f"the metric {name} must be a float, got {value!r}"
        assert not math.isinf(value), f"the metric {name} is infinite"
    for name, image in report.images.items():
        assert image.dtype == torch.uint8, f"the image {name} must be uint8, got {image.dtype}"
        right = image.ndim == 3 and image.shape[-1] == 3
        assert right, f"the image {name} must be (H, W, 3), got {tuple(image.shape)}"
    for name, text in report.texts.items():
        assert isinstance(text, str), f"the text {name} must be str, got {type(text).__name__}"
    for name, audio in report.audio.items():
        check_audio(audio, f"the audio {name}")


def check_untouched(case: Case) -> None:
    """Checks that an evaluation changes neither the networks nor the global random state."""
    state = _state(case)
    before = {name: value.clone() for name, value in persistent(state.learner).items()}
    with untouched_randomness("evaluate"):
        case.spec.evaluate(state)
    assert_states(persistent(state.learner), before, "evaluate changed the networks")


def check_determinism(case: Case) -> None:
    """Checks that the same network gets the same metrics."""
    state = _state(case)
    one, again = (case.spec.evaluate(state).metrics for _ in range(2))
    differing = {name: (value, again.get(name)) for name, value in one.items() if not _same(value, again.get(name))}
    assert not differing, f"two evaluations of one network differ: {differing}"


def _evaluate(case: Case) -> Report:
    report: Report = case.spec.evaluate(_state(case))
    return report


def _state(case: Case) -> RunState:
    learner = case.learner()
    case.spec.prepare(case.experiment)
    initial, device = functools.partial(build_network, case.experiment), torch.device("cpu")
    return RunState(case.experiment, learner, initial, device, torch.float32, step=0, finished=False)


def _same(one: float, other: float | None) -> bool:
    return one == other or (other is not None and math.isnan(one) and math.isnan(other))
