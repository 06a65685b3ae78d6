"""What ``didact resume --prove`` shows."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from didact.errors import RunError
from didact.record.folder import RunFolder
from didact.run.proof import Proof, prove

SHOWN = 3  # differences of each kind


def prove_run(folder: Path, *, steps: int, kills: int, device: str) -> None:
    """Proves on a short copy of a run's experiment that killing it changes nothing.

    Raises:
        RunError: it does change something; the two copies are kept for a look.
    """
    experiment = RunFolder.open(folder).experiment()
    console = Console(highlight=False)
    folder = folder.resolve()
    place = folder.with_name(f"{folder.name}-proof")
    if place.exists():
        shutil.rmtree(place)  # of a proof that was interrupted, or failed and has been seen
    console.print(f"{experiment.name}: {steps} steps twice, in {place}")
    proof = prove(experiment, place, steps=steps, kills=kills, device=device, tell=console.print)
    _show(console, proof)
    if not proof.holds:
        raise RunError(
            f"a run that is killed and resumed is not the run left alone: "
            f"{next(c.different[0] for c in proof.comparisons if c.different)}",
            where=str(place),
            mend="compare the two folders there. A part does this that keeps state outside of its module's tensors, or "
            "draws from a generator of its own; so do the GPU's operations that sum in no fixed order",
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
        for told in comparison.different[:SHOWN]:
            console.print(f"  {comparison.what}: {told}", markup=False)
