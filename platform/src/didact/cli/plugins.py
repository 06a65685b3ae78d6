"""``didact plugins``."""

from __future__ import annotations

import click

from didact.plugins import Plugin, registry


@click.command("plugins", short_help="List plugins, what they register, and what failed to load.")
def plugins_command() -> None:
    """Lists every installed plugin: its distribution and version, what it registers, and where it lives.

    A plugin that cannot be used is listed with the reason, and the exit code is 1; the others work all the same.
    """
    broken = [plugin for plugin in registry().plugins if plugin.failure]
    for plugin in registry().plugins:
        if not plugin.failure:
            _show(plugin)
    for plugin in broken:
        click.secho(f"{plugin.name}  {plugin.distribution} {plugin.version}  cannot be used", fg="red", bold=True)
        click.echo(f"  module  {plugin.module}")
        click.echo(f"  why     {plugin.failure}")
        click.echo(f"  mend    {_mend(plugin)}")
    if broken:
        raise click.exceptions.Exit(1)


def _show(plugin: Plugin) -> None:
    click.secho(f"{plugin.name}  {plugin.distribution} {plugin.version}", bold=True)
    click.echo(f"  in {plugin.location}")
    for hook, components in sorted(plugin.components.items()):
        names = ", ".join(f"{short} ({getattr(cls, '__name__', 'command')})" for short, cls in components.items())
        click.echo(f"  {hook.removeprefix('didact_').replace('_', ' ')}: {names}")


def _mend(plugin: Plugin) -> str:
    if "ModuleNotFoundError" in plugin.failure:
        return f"install what it imports, or reinstall {plugin.distribution}"
    if "which is no hook" in plugin.failure:
        return "rename the function, or drop its @hookimpl; the hooks are in didact.hookspecs"
    return f"report it to the authors of {plugin.distribution}, or uninstall that distribution"
