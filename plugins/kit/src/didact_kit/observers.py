"""The rules that every observer must follow."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

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
    curves = []
    for experiment in (case.experiment, attrs.evolve(case.experiment, observers=())):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _working_in(Path(folder)):
            result = start(experiment, Path(folder) / "run", device="cpu")
            curves.append([decided_by_the_seed(metrics) for metrics in read_metrics(result.folder)])
        assert not result.warnings, "; ".join(result.warnings)
    assert curves[0] == curves[1], f"the run with it has the metrics {curves[0]}, the run without it {curves[1]}"


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Works in its own folder, so that files which an observer writes to the current folder are deleted."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
