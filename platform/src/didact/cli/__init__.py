"""The command line: ``didact run``, ``didact ingest``, and whatever plugins add."""

from __future__ import annotations

import datetime
import importlib
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click

from didact.commands import ALIASES, CORE
from didact.errors import DidactError, did_you_mean
from didact.machine.processes import Process


class Commands(click.Group):
    """The core's commands and those of plugins, each imported only when it is called for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*CORE, *sorted(self._of_plugins())]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        name = ALIASES.get(name, name)
        if name in CORE:
            module, _, attribute = CORE[name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        return self._of_plugins().get(name)

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and self.get_command(context, args[0]) is None:
            raise DidactError(
                f"didact has no command {args[0]!r}", mend=did_you_mean(args[0], self.list_commands(context))
            )
        return super().resolve_command(context, args)

    def _of_plugins(self) -> dict[str, click.Command]:
        from didact.plugins import registry

        return registry().of_kind("didact_commands")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="didact", message="didact %(version)s")
def cli() -> None:
    """Self-supervised learning by self-teaching: one algorithm for speech, images and text.

    Start with `didact quickstart`, or ingest your own files and run an experiment on them:

    \b
        didact ingest images photos/ --out stores/photos
        didact run experiments/small/images.py --set source.store=photos --set evaluations={}
    """


def main() -> None:
    """Runs the command line; a mistake that a user can mend is one message and exit code 1."""
    try:
        code = cli(standalone_mode=False)  # what `Exit` was raised with; None after a command that simply ended
    except DidactError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:  # nobody foresaw it: tell everything, and keep it
        report = Path(f"didact-crash-{datetime.datetime.now():%Y%m%d-%H%M%S}.log")
        text = f"{' '.join(sys.argv)}\n\n{traceback.format_exc()}"
        click.echo(text, err=True)
        try:
            report.write_text(text)
        except OSError:
            sys.exit(70)
        click.echo(
            f"error: {type(error).__name__}: {error}\n"
            f"  this is a bug of didact or of a plugin; the report lies in {report}",
            err=True,
        )
        sys.exit(70)
    if code:
        sys.exit(code)


def begin(words: Sequence[str], **where: Any) -> Process:
    """Begins a command in a process of its own; its exit code is the process's.

    Args:
        words: of the command line, without ``didact``.
        where: as for `didact.machine.processes.Process`, by name.
    """
    return Process(_run, tuple(words), **where)


def _run(channel: Connection, words: Sequence[str]) -> None:
    sys.argv = ["didact", *words]
    main()
