"""``didact quickstart``."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click

INTERRUPTED = 130  # what a shell calls a command that SIGINT ended


@click.command("quickstart", short_help="See one algorithm learn from images, speech and text.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("quickstart"),
    show_default=True,
    help="Where data, stores, runs and the figure go.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random in training.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of all three experiments, such as training.steps=1000. Repeatable.",
)
@click.pass_context
def quickstart_command(context: click.Context, out: Path, seed: int, settings: tuple[str, ...]) -> None:
    """Prepares small data in three modalities, pretrains data2vec on each, and judges what was learned.

    Everything happens through the commands that you would use on your own files; they are shown as they are run. It
    takes some minutes on two cores. Stopped by Ctrl-C, it goes on where it was when it is called again.
    """
    from rich.console import Console

    from didact_quickstart.quickstart import FIGURE, Interrupted, quickstart

    console = Console(highlight=False)
    root = context.find_root().command
    started = time.monotonic()

    def didact(*words: str) -> None:
        console.print(f"$ didact {shlex.join(words)}", style="bold", markup=False, soft_wrap=True)
        root.main(list(words), prog_name="didact", standalone_mode=False)

    changes = {"training.seed": str(seed)} if seed else {}
    changes |= dict(_parse(setting) for setting in settings)
    again = shlex.join(["didact", "quickstart", "--out", str(out)])
    try:
        quickstart(out, changes, didact, console)
    except (Interrupted, KeyboardInterrupt):
        console.print(f"stopped; it goes on by the same command: {again}", markup=False, soft_wrap=True)
        raise SystemExit(INTERRUPTED) from None
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    console.print(f"{minutes} min {seconds} s; the figure is {out / FIGURE}", markup=False, soft_wrap=True)


def _parse(setting: str) -> tuple[str, str]:
    field, equals, value = setting.partition("=")
    if not equals or not field:
        raise click.BadParameter(f"it takes FIELD=VALUE, got {setting!r}", param_hint="--set")
    return field.strip(), value.strip()
