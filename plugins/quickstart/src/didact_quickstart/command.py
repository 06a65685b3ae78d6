"""``didact quickstart``."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click

INTERRUPTED = 130  # exit status of a command that SIGINT ended


@click.command("quickstart", short_help="Pretrain and evaluate one algorithm on images, speech and text.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("quickstart"),
    show_default=True,
    help="Folder for data, stores, runs and the figure.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of training.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of all three experiments, such as training.steps=1000; repeatable.",
)
@click.pass_context
def quickstart_command(context: click.Context, out: Path, seed: int, settings: tuple[str, ...]) -> None:
    """Prepare small data in three modalities, pretrain data2vec on each, and evaluate the representations.

    Every step is a command that you can use on your own files; each is printed before it runs. All three take less than
    four minutes on two cores. After Ctrl-C, the same command resumes where it stopped.
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
        console.print(f"stopped; resume with the same command: {again}", markup=False, soft_wrap=True)
        raise SystemExit(INTERRUPTED) from None
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    console.print(f"took {minutes} min {seconds} s; figure: {out / FIGURE}", markup=False, soft_wrap=True)


def _parse(setting: str) -> tuple[str, str]:
    field, equals, value = setting.partition("=")
    if not equals or not field:
        raise click.BadParameter(f"must be FIELD=VALUE, got {setting!r}", param_hint="--set")
    return field.strip(), value.strip()
