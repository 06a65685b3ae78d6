"""The commands ``didact run`` and ``didact resume``; modules that need PyTorch are imported when a command runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from didact.errors import DidactError
from didact.plugins import registry

if TYPE_CHECKING:
    from didact import Experiment
    from didact.run import RunResult

DEVICE = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu or cuda; auto takes the GPU if there is one."
)
SET = "Change a field for this run, such as training.steps=50; checked and recorded. Repeatable."
AMEND = (
    "Change a field before resuming, such as training.gradient_accumulation_steps=2. Only how the run is computed, "
    "evaluated or recorded can change, not what is trained. Checked and recorded. Repeatable."
)


@click.command("run", short_help="Run an experiment.")
@click.argument("reference", metavar="FILE[:NAME]")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help=SET)
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/NAME/<now>]")
@click.option("--smoke", is_flag=True, help="Take two steps of two samples each, to check that all parts fit.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Parallel runs of a study.")
@DEVICE
def run_command(
    reference: str, settings: tuple[str, ...], out: Path | None, smoke: bool, jobs: int, device: str
) -> None:
    """Run the experiment in FILE: the variable `experiment`, or NAME.

    A run writes a folder that documents it: the experiment as data and source, metrics, evaluations, checkpoints.
    Ctrl-C or SIGTERM writes a checkpoint and ends the run; `didact resume FOLDER` resumes the run.

    A study, such as an ablation, is run in the same way, in the folder runs/NAME. Runs that are already complete are
    not repeated, so the same command resumes a study that was stopped.
    """
    from didact import Experiment
    from didact.experiment_file import load, parse_settings
    from didact.machine.distributed import current
    from didact.record.folder import new_folder
    from didact.run import start

    warn_of_broken_plugins()
    found, path = load(reference, settings)
    if not isinstance(found, Experiment):
        if smoke:
            found.smoke(device=device)
        elif not found.run(folder=out or Path("runs") / found.name, device=device, jobs=jobs, source_file=path):
            raise click.exceptions.Exit(1)
        return
    if jobs > 1:
        raise DidactError("an experiment is one run; --jobs is for studies", where="--jobs", hint="leave it out")
    how: dict[str, Any] = {"device": device, "source_file": path, "overrides": parse_settings(settings)}
    if smoke:
        found, how["overrides"]["--smoke"] = smoke_of(found), "true"
        if current().main:
            click.echo("smoke: two steps of two samples each; evaluations are left out")
    folder = out or new_folder(Path("runs"), found)
    _show(lambda observers: start(found, folder, observers=observers, examined=not smoke, **how))


@click.command("resume", short_help="Resume a run.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help=AMEND)
@DEVICE
def resume_command(folder: Path, settings: tuple[str, ...], device: str) -> None:
    """Resume the run in FOLDER from its newest checkpoint; the loss curve equals that of an uninterrupted run."""
    from didact.experiment_file import parse_settings
    from didact.run import resume

    warn_of_broken_plugins()
    _show(lambda observers: resume(folder, device=device, observers=observers, overrides=parse_settings(settings)))


def smoke_of(experiment: Experiment) -> Experiment:
    """Returns the experiment with two steps of two samples (at least one per process) and without evaluations."""
    from didact import BatchSize
    from didact.machine.distributed import current

    nothing = dict.fromkeys(("checkpoint_every", "keep_every", "keep_best", "patience", "evaluate_every"))
    batch = BatchSize.samples(max(2, current().size))
    training = experiment.training.evolve(
        steps=2, batch=batch, gradient_accumulation_steps=1, num_workers=0, log_every=1, nonfinite="stop", **nothing
    )
    return experiment.evolve(name=f"{experiment.name}-smoke", evaluations={}, training=training)


def warn_of_broken_plugins() -> None:
    """Prints a warning on standard error for each plugin that cannot be used."""
    for plugin in registry().plugins:
        if plugin.failure:
            what = f"the plugin {plugin.name!r} ({plugin.owner}) cannot be used"
            click.echo(f"warning: {what}; see `didact plugins`", err=True)


def _show(run: Any) -> None:
    """Runs with the terminal as an observer, then prints the outcome and the warnings that were not shown before."""
    from didact.cli.progress import Progress
    from didact.machine.distributed import current

    progress = Progress()
    result: RunResult = run({"terminal": progress})
    if not current().main:
        return
    for warning in result.warnings:
        if warning not in progress.warned:
            click.echo(f"warning: {warning}", err=True)
    if result.outcome == "stopped":
        click.echo(f"stopped; resume with: didact resume {shlex.quote(str(result.folder))}")
    else:
        click.echo(f"{result.outcome}: {result.folder}")
