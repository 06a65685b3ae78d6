"""``didact run`` and ``didact resume``."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from didact.contracts import Study, StudyCall
from didact.errors import DidactError
from didact.experiment import Experiment, samples

if TYPE_CHECKING:
    from didact.run import RunResult

DEVICE = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu or cuda; auto takes the GPU if any."
)


@click.command("run", short_help="Run an experiment.")
@click.argument("reference", metavar="FILE[:NAME]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field for this run, such as training.steps=50; checked and recorded. Repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/NAME/<now>]")
@click.option("--smoke", is_flag=True, help="Take two steps of two samples each, to see that everything fits.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Of a study: runs side by side.")
@DEVICE
def run_command(
    reference: str, settings: tuple[str, ...], out: Path | None, smoke: bool, jobs: int, device: str
) -> None:
    """Runs the experiment in FILE: the variable `experiment`, or NAME.

    A run leaves a folder that explains it: the experiment as data and source, metrics, evaluations, checkpoints.
    Ctrl-C or SIGTERM writes a checkpoint and ends it; `didact resume FOLDER` goes on.

    A study, such as an ablation, is run in the same way: all that it consists of and that has not been done yet, in the
    folder runs/NAME. The same command goes on with one that was stopped.
    """
    found, path, overrides = load_with_settings(reference, settings)
    if isinstance(found, Experiment):
        if jobs > 1:
            raise DidactError("an experiment is one run; --jobs is for studies", where="--jobs", mend="leave it out")
        _run_experiment(found, path, overrides, out, smoke, device)
    elif smoke:
        _try_study(found, device)
    else:
        folder = out if out is not None else Path("runs") / found.name
        done = found.run(StudyCall(folder=folder, device=device, jobs=jobs, source_file=path))
        if not done:
            raise click.exceptions.Exit(1)


def _run_experiment(
    experiment: Experiment, path: Path, overrides: dict[str, str], out: Path | None, smoke: bool, device: str
) -> None:
    from didact.cli.progress import Progress
    from didact.machine.distributed import current
    from didact.record.folder import new_folder
    from didact.run import start

    if smoke:
        experiment = smoke_of(experiment)
        if current().main:
            click.echo("smoke: two steps of two samples each; evaluations are left out")
    folder = out if out is not None else new_folder(Path("runs"), experiment)
    progress = Progress()
    result = start(
        experiment,
        folder,
        device=device,
        observers={"terminal": progress},
        source_file=path,
        overrides={**overrides, **({"--smoke": "true"} if smoke else {})},
        examined=not smoke,
    )
    _tell(result, progress.warned)


def _try_study(study: Study, device: str) -> None:
    """Two steps of each experiment of a study, in folders that are gone afterwards."""
    from didact.run import start

    experiments = study.experiments()
    click.echo(f"smoke: two steps of two samples of each of {len(experiments)} experiments; nothing is kept")
    for name, experiment in experiments.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                start(
                    attrs.evolve(smoke_of(experiment), observers=()),
                    Path(folder) / "run",
                    device=device,
                    examined=False,
                )
            except DidactError as error:
                raise error.at(name) from None
        click.echo(f"{name}: fits")


@click.command("resume", short_help="Go on with a run.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--prove", is_flag=True, help="Instead, prove on a short copy that the run, killed and resumed, keeps its curve."
)
@click.option("--steps", default=8, show_default=True, type=click.IntRange(min=1), help="Steps of that copy.")
@click.option("--kills", default=3, show_default=True, type=click.IntRange(min=1), help="How often it is killed.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field before going on, such as training.micro_batches=2: how the run is computed, judged or "
    "recorded, not what is trained. Checked and recorded. Repeatable.",
)
@DEVICE
def resume_command(folder: Path, prove: bool, steps: int, kills: int, settings: tuple[str, ...], device: str) -> None:
    """Goes on with the run in FOLDER from its newest checkpoint; the curve is that of a run left alone.

    With --prove the run is not touched. A short copy of its experiment, in a folder beside it, is run twice: once left
    alone, once killed at random moments and resumed. Weights, teacher, optimizer, metrics and evaluations of both must
    be equal to the bit.
    """
    from didact.experiment_file import parse_settings

    _warn_of_broken_plugins()
    overrides = parse_settings(settings)
    if prove:
        if overrides:
            raise DidactError("a proof is of the run as it is", where="--set", mend="leave it out")
        from didact.cli.proof import prove_run

        prove_run(folder, steps=steps, kills=kills, device=device)
        return
    from didact.cli.progress import Progress
    from didact.run import resume

    progress = Progress()
    result = resume(folder, device=device, observers={"terminal": progress}, overrides=overrides)
    _tell(result, progress.warned)


def load_with_settings(reference: str, settings: tuple[str, ...]) -> tuple[Experiment | Study, Path, dict[str, str]]:
    """What FILE[:NAME] refers to with the fields that ``--set`` changes, its file, and those changes."""
    from didact.experiment_file import load, parse_settings

    _warn_of_broken_plugins()
    found, path = load(reference, settings)
    return found, path, parse_settings(settings)


def load_one(reference: str, settings: tuple[str, ...]) -> Experiment:
    """The experiment that FILE[:NAME] refers to with the fields that ``--set`` changes; a study will not do."""
    from didact.experiment_file import load_experiment

    _warn_of_broken_plugins()
    return load_experiment(reference, settings)[0]


def smoke_of(experiment: Experiment) -> Experiment:
    """Two steps of two samples each, or one for each process, whatever the experiment is."""
    from didact.machine.distributed import current

    training = attrs.evolve(
        experiment.training,
        steps=2,
        batch=samples(max(2, current().size)),
        micro_batches=1,
        workers=0,
        log_every=1,
        checkpoint_every=None,
        keep_every=None,
        keep_best=None,
        evaluate_every=None,
        nonfinite="stop",
    )
    return attrs.evolve(experiment, name=f"{experiment.name}-smoke", training=training, evaluations={})


def _warn_of_broken_plugins() -> None:
    from didact.plugins import registry

    for plugin in registry().plugins:
        if plugin.failure:
            told = f"the plugin {plugin.name!r} ({plugin.owner}) cannot be used; see `didact plugins`"
            click.echo(f"warning: {told}", err=True)


def _tell(result: RunResult, warned: Sequence[str]) -> None:
    """Says how a run ended, and what of its warnings was not shown when it went wrong."""
    from didact.machine.distributed import current

    if not current().main:
        return
    for warning in result.warnings:
        if warning not in warned:
            click.echo(f"warning: {warning}", err=True)
    if result.outcome == "stopped":
        click.echo(f"stopped; go on with: didact resume {shlex.quote(str(result.folder))}")
    else:
        click.echo(f"{result.outcome}: {result.folder}")
