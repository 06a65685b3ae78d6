"""The rules that every evaluation must follow, checked on the experiment's untrained networks on the CPU."""

from __future__ import annotations

import functools
import math

import torch

from didact.building import build_network
from didact.experiment import Report, RunState
from didact_kit.closeness import assert_states, persistent, untouched_randomness
from didact_kit.examples import Case
from didact_kit.watching import Held

STARTS = {"png": b"\x89PNG\r\n\x1a\n", "wav": b"RIFF"}  # the first bytes of a file, by format


def check_report(case: Case) -> None:
    """Checks that the report has metrics or files, each of the right type."""
    report = _evaluate(case)
    assert report.metrics or report.files, "the report holds neither a metric nor a file"
    for name, value in report.metrics.items():
        assert isinstance(value, float), f"the metric {name} must be a float, got {value!r}"
        assert not math.isinf(value), f"the metric {name} is infinite"
    for name, content in report.files.items():
        assert isinstance(content, bytes), f"the file {name} must be bytes, got {type(content).__name__}"
        stem, _, suffix = name.rpartition(".")
        assert stem, f"the file {name} must be named with its format, such as {name}.png"
        assert content.startswith(STARTS.get(suffix, b"")), f"the content of {name} is no .{suffix} file"


def check_untouched(case: Case) -> None:
    """Checks that an evaluation changes neither the networks nor the global random state."""
    state = _state(case)
    state.learner.eval()
    before = {name: value.clone() for name, value in persistent(state.learner).items()}
    held = Held(state.learner, "the learner")
    with untouched_randomness("evaluate"):
        case.spec.evaluate(state)
    assert torch.is_grad_enabled(), "evaluate left gradients switched off"
    assert_states(persistent(state.learner), before, "evaluate changed the networks")
    changed = next(held.changes(), None)
    assert changed is None, f"after evaluate, {changed}"
    taught = [name for name, parameter in state.learner.named_parameters() if parameter.grad is not None]
    assert not taught, f"evaluate left a gradient on {taught[0]}"


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
