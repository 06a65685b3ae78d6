"""The rules that every observer must follow."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from didact.errors import DidactError
from didact.experiment import Experiment
from didact.record.folder import decided_by_the_seed, read_metrics
from didact.record.observers import Observers
from didact.run import start
from didact_kit.examples import Case


def check_hooks(case: Case) -> None:
    """Checks that the observer implements hooks, and only existing hooks."""
    observers = Observers({}, [case.spec])
    assert not observers.unfit, observers.unfit[0]
    manager = observers.manager
    assert any(map(manager.get_hookcallers, manager.get_plugins())), "it has no method with @hookimpl"


def check_run(case: Case) -> None:
    """Checks that no hook fails in a run of two steps, and that the run's curve equals that of a run without it."""
    alone = _curve(attrs.evolve(case.experiment, observers=()), examined=False)
    for examined in (False, True):  # it may warn of a run that it examines
        with contextlib.suppress(DidactError) if examined else contextlib.nullcontext():  # or refuse it
            curve = _curve(case.experiment, examined=examined)
            assert curve == alone, f"the run with it has the metrics {curve}, the run without it {alone}"


def _curve(experiment: Experiment, *, examined: bool) -> list[dict[str, float]]:
    """Returns the metrics of each step of a run that the seed decides."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _working_in(Path(folder)):
        result = start(experiment, Path(folder) / "run", device="cpu", examined=examined)
        assert examined or not result.warnings, "; ".join(result.warnings)
        return [decided_by_the_seed(metrics) for metrics in read_metrics(result.folder)]


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Works in its own folder, so that files which an observer writes to the current folder are deleted."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
