"""The study class that didact-ablate registers: a design and the code that runs it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import attrs
import click

from didact import DidactError, Experiment, run
from didact.cli.run import smoke_of
from didact.experiment_file import load_experiment
from didact_ablate.design import Design
from didact_ablate.study import Call, run_design


@attrs.frozen(kw_only=True)
class Ablation(Design):
    """Runs variants of a base experiment under the same seeds, to measure what a choice changes.

    For one seed, all variants see the same samples in the same order and start from the same weights in every part
    that is the same. Variants with the same masker also draw the same masks. Results are therefore compared in pairs.

    ``didact run FILE`` runs what is missing and then compares; ``didact compare`` shows the comparison again.
    """

    def smoke(self, *, device: str) -> None:
        experiments = self.experiments()
        click.echo(f"smoke: two steps of two samples of each of {len(experiments)} experiments; nothing is kept")
        for name, experiment in experiments.items():
            with tempfile.TemporaryDirectory() as folder:
                short = smoke_of(experiment).evolve(observers=())
                try:
                    run.start(short, Path(folder) / "run", device=device, examined=False)
                except DidactError as error:
                    raise error.at(name) from None
            click.echo(f"{name}: fits")

    def run(self, *, folder: Path, device: str, jobs: int, source_file: Path) -> bool:
        return run_design(self, Call(folder=folder, device=device, jobs=jobs, source_file=source_file))


def experiment_in(file: str | Path, *, beside: str | Path = "") -> Experiment:
    """Loads the experiment of another file: ``base = experiment_in("../small/images.py", beside=__file__)``.

    Args:
        file: the experiment's file, or ``FILE:NAME`` if the file has several experiments.
        beside: a file to whose folder the path is relative; if empty, the path is relative to the working directory.

    Raises:
        DidactError: the experiment cannot be loaded; see `load_experiment`.
    """
    folder = Path(beside).parent if beside else Path()
    return load_experiment(str(folder / file))[0]
