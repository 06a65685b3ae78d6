"""The command line: ``didact run``, ``resume`` and ``plugins``, and the commands that plugins add."""

from __future__ import annotations

import contextlib
import datetime
import functools
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from didact.errors import DidactError, PluginError, did_you_mean
from didact.plugins import COMPONENTS, KINDS, SKIP, registry


class Commands(click.Group):
    """The commands of the core and of plugins; a command is imported only when it is needed."""

    def list_commands(self, context: click.Context) -> list[str]:
        core, *plugins = registry().plugins
        return [*core.commands, *sorted(word for plugin in plugins for word in plugin.commands)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        plugin = next((plugin for plugin in registry().plugins if name in plugin.commands), None)
        if plugin is None:
            return None
        try:
            command: click.Command = plugin.command(name)
        except PluginError as error:  # the help must still list the other commands
            command = click.Command(name, callback=functools.partial(_fail, error), short_help="Cannot be imported.")
            command.allow_extra_args = command.ignore_unknown_options = True
        return command

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and self.get_command(context, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(context))
            raise DidactError(f"didact has no command {args[0]!r}", hint=hint)
        return super().resolve_command(context, args)


def _fail(error: PluginError) -> None:
    raise error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="didact", message="didact %(version)s")
def cli() -> None:
    """Self-supervised learning by self-distillation: one algorithm for speech, images and text.

    Start with `didact quickstart`, or ingest your own files and run an experiment on them:

    \b
        didact ingest images photos/ --out stores/photos
        didact run experiments/small/images.py --set source.store=photos --set evaluations={}
    """


@click.command("plugins", short_help="List the installed plugins.")
def plugins_command() -> None:
    """List every installed plugin: its distribution and version, what it registers, and where it is.

    A plugin that cannot be used is listed with the reason, and the exit code is 1; other plugins still work.
    DIDACT_SKIP=NAME,… leaves out plugins by plugin name or distribution name.
    """
    wrong = 0
    for plugin in registry().plugins:
        if plugin.skipped:
            click.secho(f"{plugin.name}  {plugin.owner}  left out by {SKIP}", dim=True)
        elif plugin.failure:
            wrong += 1
            click.secho(f"{plugin.name}  {plugin.owner}  cannot be used", fg="red", bold=True)
            click.echo(f"  module  {plugin.module}\n  reason  {plugin.failure}\n  hint    {plugin.hint}")
        else:
            wrong += bool(plugin.warning)
            click.secho(f"{plugin.name}  {plugin.owner}", bold=True)
            click.echo(f"  in {plugin.location}")
            for hook in (*KINDS, COMPONENTS):
                classes = plugin.components.get(hook, {}).items()  # values: class or import path
                names = [f"{short} ({getattr(one, '__name__', one).rpartition(':')[2]})" for short, one in classes]
                if names:
                    click.echo(f"  {hook.removeprefix('didact_').replace('_', ' ')}: {', '.join(names)}")
            if plugin.commands:
                click.echo(f"  commands: {', '.join(plugin.commands)}")
            if plugin.warning:
                click.echo(f"  {click.style('warning', fg='yellow', bold=True)} {plugin.warning}")
    if wrong:
        raise click.exceptions.Exit(1)


def main() -> None:
    """Runs the command line; a `DidactError` prints one message and exits with code 1."""
    try:
        code = cli(standalone_mode=False)  # the code of an `Exit`; None if the command returned
    except DidactError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:  # unexpected: print the full report and save it
        report = Path(f"didact-crash-{datetime.datetime.now():%Y%m%d-%H%M%S}.log")
        text = f"{' '.join(sys.argv)}\n\n{traceback.format_exc()}"
        click.echo(text, err=True)
        with contextlib.suppress(OSError):
            report.write_text(text)
            bug = f"  this is a bug in didact or in a plugin; the report is in {report}"
            click.echo(f"error: {type(error).__name__}: {error}\n{bug}", err=True)
        sys.exit(70)
    if code:
        sys.exit(code)
