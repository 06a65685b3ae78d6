"""``didact bench``."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from didact.bench import Speed, measure
from didact.cli.run import DEVICE, load_one
from didact.devices import choose_device


@click.command("bench", short_help="Measure how fast an experiment trains here.")
@click.argument("reference", metavar="FILE[:NAME]")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field, as for `didact run`.")
@click.option("--steps", default=5, show_default=True, type=click.IntRange(min=1), help="Steps that are measured.")
@DEVICE
def bench_command(reference: str, settings: tuple[str, ...], steps: int, device: str) -> None:
    """Trains a few steps of the experiment in FILE and tells where their time goes.

    Nothing is written. The ceiling is what this machine reaches in one large matrix product of the same precision, just
    now; other processes lower both.
    """
    experiment = load_one(reference, settings)
    warmup = 4 if experiment.training.compile else 2
    _show(Console(highlight=False), measure(experiment, choose_device(device), steps, warmup), experiment.name)


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
