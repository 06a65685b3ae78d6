"""``didact doctor``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from didact.cli.run import DEVICE, warn_of_broken_plugins

STYLES = {"fine": "green", "warning": "yellow", "error": "bold red"}


@click.command("doctor", short_help="Check an experiment before training.")
@click.argument("reference", metavar="FILE[:NAME]")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field, as for `didact run`.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder in which the run's folder would be.",
)
@click.option("--quick", is_flag=True, help="Leave out what is measured: memory and time.")
@DEVICE
def doctor_command(reference: str, settings: tuple[str, ...], out: Path, quick: bool, device: str) -> None:
    """Check the experiment in FILE, its data and this machine, and report every finding with a hint.

    Memory and time are measured in a separate process: the largest batches run through forward, backward and
    optimizer, and then a few steps of the run are timed. Nothing is written. Exits with 1 if there is an error.

    A run whose experiment lists the observer `Doctor` is checked in the same way at its start, without measurements.
    """
    from didact import Experiment
    from didact.experiment_file import load
    from didact.machine.devices import choose_device
    from didact_doctor.examination import diagnose
    from didact_doctor.findings import describe

    warn_of_broken_plugins()
    found, _ = load(reference, settings)
    experiments = {found.name: found} if isinstance(found, Experiment) else found.experiments()
    console, seen = Console(highlight=False), Counter[str]()
    for name, experiment in experiments.items():
        console.print(f"{name}:", markup=False)
        for finding in diagnose(experiment, choose_device(device), out, quick=quick):
            seen[finding.severity] += 1
            line = Text.assemble((f"{finding.severity:<9}", STYLES[finding.severity]), describe(finding))
            console.print(line, soft_wrap=True)
    console.print(f"{_counted(seen['error'], 'error')}, {_counted(seen['warning'], 'warning')}")
    if seen["error"]:
        sys.exit(1)


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
