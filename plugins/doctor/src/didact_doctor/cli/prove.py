"""``didact prove``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from didact import RunError
from didact.cli.run import DEVICE

if TYPE_CHECKING:
    from didact_doctor.proof import Proof

SHOWN = 3  # number of differences shown of each kind


@click.command("prove", short_help="Prove that killing and resuming a run changes nothing.")
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--steps", default=8, show_default=True, type=click.IntRange(min=1), help="Steps of the copy.")
@click.option("--kills", default=3, show_default=True, type=click.IntRange(min=1), help="Times that it is killed.")
@DEVICE
def prove_command(folder: Path, steps: int, kills: int, device: str) -> None:
    """Prove on a short copy of the experiment in RUN that killing and resuming changes nothing.

    The run itself is not changed. The copy runs twice, in the folder RUN-proof: once without interruption, and once
    killed at random moments and resumed. Weights, teacher, optimizer, metrics and evaluations must be equal to the bit.
    Exits with 1 and keeps the folder if anything differs.
    """
    from didact.record.folder import RunFolder
    from didact_doctor.proof import prove

    experiment = RunFolder.open(folder).experiment()
    console, folder = Console(highlight=False), folder.resolve()
    place = folder.with_name(f"{folder.name}-proof")
    if place.exists():
        shutil.rmtree(place)  # left by a proof that failed or was interrupted
    console.print(f"{experiment.name}: {steps} steps twice, in {place}")
    proof = prove(experiment, place, steps=steps, kills=kills, device=device, report=console.print)
    _show(console, proof)
    if not proof.holds:
        raise RunError(
            f"a run that is killed and resumed differs from the uninterrupted one: "
            f"{next(c.different[0] for c in proof.comparisons if c.different)}",
            where=str(place),
            hint="compare the two folders there. A part causes this if it keeps state outside of its module's tensors "
            "or draws from a generator of its own; so do GPU operations that sum in no fixed order",
        )
    shutil.rmtree(place)
    console.print("one curve: everything is equal to the bit")


def _show(console: Console, proof: Proof) -> None:
    table = Table("compared", "count", "differ", box=None, padding=(0, 2, 0, 0))
    table.columns[1].justify = table.columns[2].justify = "right"
    for comparison in proof.comparisons:
        table.add_row(comparison.what, f"{comparison.count:,}", str(len(comparison.different)))
    console.print(table)
    for comparison in proof.comparisons:
        for difference in comparison.different[:SHOWN]:
            console.print(f"  {comparison.what}: {difference}", markup=False)
