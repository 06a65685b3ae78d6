"""What every observer promises."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from didact.plugins import lifecycle_manager
from didact.testing.examples import Case


def check_hooks(case: Case) -> None:
    """It listens to something, and only to what there is."""
    watching = case.spec.build()
    manager = lifecycle_manager()
    manager.register(watching)
    manager.check_pending()  # raises for a hook that no definition fits
    assert manager.get_hookcallers(watching), "it has no method with @hookimpl"


def check_run(case: Case) -> None:
    """It sees a run of two steps through to its end, and the run's curve is that of one without it."""
    from didact.record.observing import decided_by_the_seed, read_metrics
    from didact.run import start

    curves = []
    for experiment in (case.experiment, attrs.evolve(case.experiment, observers=())):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _working_in(Path(folder)):
            result = start(experiment, Path(folder) / "run", device="cpu", examined=False)
            curves.append([decided_by_the_seed(metrics) for metrics in read_metrics(result.folder)])
        assert not result.warnings, "; ".join(result.warnings)
    assert curves[0] == curves[1], f"the run with it took {curves[0]}, the run without it {curves[1]}"


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """In a folder of its own: what an observer writes where it stands is thrown away."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
