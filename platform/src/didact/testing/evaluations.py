"""What every evaluation promises. It judges the untrained networks of the experiment, on the CPU."""

from __future__ import annotations

import math

import torch

from didact.contracts import Report
from didact.testing.closeness import assert_states, persistent, untouched_randomness
from didact.testing.examples import Case
from didact.testing.sources import check_sound
from didact.training.judging import RunSubject


def check_report(case: Case) -> None:
    """There is a verdict: numbers, or something to look at, to read or to listen to."""
    report = _judge(case)
    some = (report.metrics, report.images, report.texts, report.sounds)
    assert any(some), "there is neither a metric nor an image, a text or a sound"
    for name, value in report.metrics.items():
        assert isinstance(value, float), f"the metric {name} is a number, got {value!r}"
        assert not math.isinf(value), f"the metric {name} is infinite"
    for name, image in report.images.items():
        assert image.dtype == torch.uint8, f"the image {name} is uint8, not {image.dtype}"
        right = image.ndim == 3 and image.shape[-1] == 3
        assert right, f"the image {name} is (H, W, 3), got {tuple(image.shape)}"
    for name, text in report.texts.items():
        assert isinstance(text, str), f"the text {name} is str, got {type(text).__name__}"
    for name, sound in report.sounds.items():
        check_sound(sound, f"the sound {name}")


def check_untouched(case: Case) -> None:
    """The networks and the global random state are as they were."""
    subject = _subject(case)
    before = {name: value.clone() for name, value in persistent(subject._learner).items()}
    with untouched_randomness("evaluate"):
        case.spec.evaluate(subject)
    assert_states(persistent(subject._learner), before, "evaluate changed the networks")


def check_determinism(case: Case) -> None:
    """The same network gets the same verdict."""
    subject = _subject(case)
    one, again = (case.spec.evaluate(subject).metrics for _ in range(2))
    differing = {name: (value, again.get(name)) for name, value in one.items() if not _same(value, again.get(name))}
    assert not differing, f"two verdicts on one network differ: {differing}"


def _judge(case: Case) -> Report:
    report: Report = case.spec.evaluate(_subject(case))
    return report


def _subject(case: Case) -> RunSubject:
    learner = case.learner()
    case.spec.prepare(case.experiment)
    return RunSubject(case.experiment, learner, torch.device("cpu"), torch.float32, step=0)


def _same(one: float, other: float | None) -> bool:
    return one == other or (other is not None and math.isnan(one) and math.isnan(other))
