"""``didact doctor``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from didact.cli.run import DEVICE, load_with_settings
from didact.experiment import Experiment
from didact.machine.devices import choose_device

STYLES = {"fine": "green", "warning": "yellow", "error": "bold red"}


@click.command("doctor", short_help="Say what will not do before a run's first step.")
@click.argument("reference", metavar="FILE[:NAME]")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field, as for `didact run`.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where the run's folder would lie.",
)
@click.option("--quick", is_flag=True, help="Measure nothing: leaves memory and time out.")
@DEVICE
def doctor_command(reference: str, settings: tuple[str, ...], out: Path, quick: bool, device: str) -> None:
    """Looks at the experiment in FILE, its data and this machine, and tells what it finds, each with its mend.

    Memory and time are measured: the largest batch there is goes through forward, backward and optimizer, and then some
    steps as the run takes them, in a process of its own. Nothing is written. Exits with 1 where there is an error.

    `didact run` looks by itself, without measuring, and tells warnings and errors only.
    """
    from didact.doctor import diagnose  # here: `didact --help` asks every command for a line

    found, _, _ = load_with_settings(reference, settings)
    experiments = {found.name: found} if isinstance(found, Experiment) else found.experiments()
    console, seen = Console(highlight=False), Counter[str]()
    for name, experiment in experiments.items():
        console.print(f"{name}:", markup=False)
        for finding in diagnose(experiment, choose_device(device), out, quick=quick):
            seen[finding.severity] += 1
            told = Text.assemble((f"{finding.severity:<9}", STYLES[finding.severity]), str(finding))
            console.print(told, soft_wrap=True)
    console.print(f"{_counted(seen['error'], 'error')}, {_counted(seen['warning'], 'warning')}")
    if seen["error"]:
        sys.exit(1)


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
