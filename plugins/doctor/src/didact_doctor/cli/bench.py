"""``didact bench``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from didact.cli.run import DEVICE, warn_of_broken_plugins

if TYPE_CHECKING:
    from didact_doctor.bench import Contestant, Speed


@click.command("bench", short_help="Measure how fast an experiment trains here.")
@click.argument("reference", metavar="FILE[:NAME]")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field, as for `didact run`.")
@click.option(
    "--against",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Also measure the experiment with this field changed, side by side. Write changes that belong together as "
    "one, with spaces between them. Repeatable.",
)
@click.option("--steps", default=5, show_default=True, type=click.IntRange(min=1), help="Number of measured steps.")
@click.option(
    "--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Turns of each setting, with --against."
)
@DEVICE
def bench_command(
    reference: str, settings: tuple[str, ...], against: tuple[str, ...], steps: int, rounds: int, device: str
) -> None:
    """Measure the speed of the experiment in FILE over a few training steps, and the time of each stage.

    Nothing is written. The ceiling is the speed of one large matrix product of the same precision, measured at the same
    time. Other processes on the machine lower both.

    With --against, each setting trains in a process of its own. The processes take turns on the same batches, so that
    other load on the machine affects all settings alike:

    \b
        didact bench FILE --against training.compile=true --against training.precision=float32
    """
    from didact.experiment_file import load_experiment
    from didact.machine.devices import choose_device
    from didact_doctor.bench import compare, measure

    console, chosen = Console(highlight=False), choose_device(device)
    warn_of_broken_plugins()
    experiment, _ = load_experiment(reference, settings)
    if not against:
        _show(console, measure(experiment, chosen, steps), experiment.name)
        return
    changed = [load_experiment(reference, (*settings, *shlex.split(changes)))[0] for changes in against]
    with console.status("") as status:
        found = compare([experiment, *changed], chosen, steps, rounds, report=status.update)
    _show_beside(console, dict(zip([experiment.name, *against], found, strict=True)), steps * rounds)


def _show_beside(console: Console, found: Mapping[str, Contestant], steps: int) -> None:
    unit = next(iter(found.values())).speed.unit
    table = Table("", "s/step", f"{unit}/s", "faster", "in rounds", "GiB", "ceiling", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for name, contestant in found.items():
        speed, gains = contestant.speed, contestant.gains
        table.add_row(
            name,
            f"{speed.step_seconds:.3f}",
            f"{speed.length_per_second:.1f}",
            f"{contestant.gain:.2f}×",
            f"{min(gains):.2f}–{max(gains):.2f}",
            f"{speed.peak_gib:.2f}",
            f"{speed.share_of_ceiling:.0%}",
        )
    console.print(table)
    console.print(
        f"  medians of {steps} steps each; faster: compared with the first, and the smallest and largest value of any "
        "round; GiB: peak memory; ceiling: share of the speed of a large matrix product"
    )


def _show(console: Console, speed: Speed, name: str) -> None:
    console.print(f"{name}: {speed.step_seconds:.3f} s per step in {speed.precision}")
    rate = f"  {speed.samples_per_second:.2f} samples per second"
    if speed.unit != "images":
        rate += f", {speed.length_per_second:.1f} {speed.unit} per second"
    console.print(rate)
    table = Table("stage", "seconds", "share", box=None, padding=(0, 2, 0, 0))
    table.columns[1].justify = table.columns[2].justify = "right"
    total = sum(speed.stages.values())
    for stage, seconds in speed.stages.items():
        table.add_row(stage, f"{seconds:.4f}", f"{seconds / total:.0%}")
    console.print(table)
    console.print(f"  peak memory {speed.peak_gib:.2f} GiB")
    console.print(
        f"  {speed.flops / 1e9:.1f} GFLOP per step at {speed.flops / speed.step_seconds / 1e9:.0f} GFLOP/s: "
        f"{speed.share_of_ceiling:.0%} of the {speed.ceiling_flops / 1e9:.0f} GFLOP/s of a large matrix product"
    )
