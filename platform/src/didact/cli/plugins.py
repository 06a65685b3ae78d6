"""The command ``didact plugins``."""

from __future__ import annotations

import click

from didact.plugins import COMPONENTS, KINDS, SKIP, registry


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
