"""``didact plugin``: list, show, make, extend and check plugins."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from didact.plugins import SKIP, Plugin, Registry, registry

if TYPE_CHECKING:
    from didact.testing import Check, Verdict


@click.group("plugin", invoke_without_command=True, short_help="List, show, make, extend and check plugins.")
@click.pass_context
def plugin_group(context: click.Context) -> None:
    """Lists every installed plugin: its distribution and version, what it registers, and where it lives.

    A plugin that cannot be used is listed with the reason, and the exit code is 1; the others work all the same.
    DIDACT_SKIP=NAME,… leaves plugins out, by their name or their distribution's. `didact plugins` is the same command.

    With a further word it shows a component, makes a plugin, adds a component to one, or checks one:

    \b
        didact plugin show vision/random
        didact plugin new stripes --kind masker
        didact plugin add ear --kind target-builder --to didact-stripes
        didact plugin check stripes
    """
    if context.invoked_subcommand is None:
        _list(registry())


@plugin_group.command("show", short_help="Show a component: its fields, its source, and where it is used.")
@click.argument("name", metavar="NAME")
@click.option(
    "--in",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Where to look for its uses: experiment files and runs.  [default: experiments/ and runs/, where they exist]",
)
def show_command(name: str, folders: tuple[Path, ...]) -> None:
    """Shows the component NAME, such as `vision/random`, or all of a plugin's: fields, types, defaults and meaning.

    Says where its class is defined, in which fields of others it may stand, and which experiment files and runs use it.
    """
    from didact.cli.describing import describe
    from didact.testing.checking import find

    plugin, short = find(name, registry())
    if plugin.failure or plugin.left_out:
        _list(Registry(plugins=(plugin,)))
    places = folders or tuple(path for path in (Path("experiments"), Path("runs")) if path.is_dir())
    for line in describe(plugin, short, places, registry()):
        click.echo(line)


@plugin_group.command("new", short_help="Write a small, complete plugin to start from.")
@click.argument("name", metavar="NAME")
@click.option("--kind", required=True, metavar="KIND", help="What it brings: masker, backbone, source, …; see below.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The new folder, which must not exist.  [default: didact-NAME]"
)
def new_command(name: str, kind: str, out: Path | None) -> None:
    """Writes a distribution that brings one component: it installs, trains and keeps the contract as it is.

    KIND is masker, feature-encoder, backbone, target-builder, objective, teacher, source, evaluation or observer.

    \b
        didact plugin new stripes --kind masker
        uv pip install -e didact-stripes
        didact run didact-stripes/experiment.py
        didact plugin check stripes
    """
    from didact.scaffold import write

    folder, files = write(name, kind, out)
    click.echo(f"{folder}/")
    for path in files:
        click.echo(f"  {path}")
    short = folder.name.removeprefix("didact-")
    click.echo("next:")
    click.echo(f"  uv pip install -e {folder}          # or: pip install -e {folder}")
    click.echo(f"  didact run {folder}/experiment.py --smoke")
    click.echo(f"  didact plugin check {short}")


@plugin_group.command("add", short_help="Add a component to a plugin of your own.")
@click.argument("name", metavar="NAME")
@click.option("--kind", required=True, metavar="KIND", help="What it is: masker, backbone, source, …; see below.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    help="The folder of the plugin, which has its pyproject.toml.  [default: this one]",
)
def add_command(name: str, kind: str, folder: Path) -> None:
    """Adds a component to a plugin: its file, its registration, its examples for the contract, and its export.

    It will be known as PLUGIN/NAME. What is in the plugin's files stays as it is written; where one of them has a shape
    that cannot be extended safely, nothing is written, and the lines to paste are printed.

    KIND is masker, feature-encoder, backbone, target-builder, objective, teacher, source, evaluation or observer.

    \b
        didact plugin add ear --kind target-builder --to didact-stripes
        didact plugin check stripes/ear
    """
    from didact.scaffold.adding import plan
    from didact.scaffold.experiments import usage

    addition = plan(name, kind, folder)
    if addition.obstacle is not None:
        click.echo(addition.lines)
    addition.write()
    for path in addition.files:
        click.echo(f"{path}{'  (new)' if path == addition.module else ''}")
    click.echo("next:")
    click.echo(f"  from {addition.package} import {addition.cls}  # in an experiment: {usage(kind, addition.cls)}")
    click.echo(f"  didact plugin check {addition.component}")


@plugin_group.command("check", short_help="Hold a plugin against the contract, rule by rule.")
@click.argument("names", metavar="NAME", nargs=-1, required=True)
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="Only this rule. Repeatable.")
@click.option("--quick", is_flag=True, help="Leave out rules that cost seconds: compilation and several processes.")
@click.option("-v", "--verbose", is_flag=True, help="Tell every rule, not only those that are broken.")
def check_command(names: tuple[str, ...], rules: tuple[str, ...], quick: bool, verbose: bool) -> None:
    """Holds NAME against the contract: a plugin, its distribution, or one component (`stripes/masker`).

    Each component is tried on the examples that the plugin gives (the hook `didact_examples`). A broken rule is told
    with what was seen and how to mend it, and the exit code is 1. The same checks run in pytest:
    `didact.testing.contract`.
    """
    from didact.errors import DidactError, did_you_mean
    from didact.testing import contract

    checks = contract(*names)
    known = {check.rule.name for check in checks}
    for rule in rules:
        if rule not in known:
            raise DidactError(f"no rule {rule!r} binds {' or '.join(names)}", mend=did_you_mean(rule, known))
    chosen = [c for c in checks if (not rules or c.rule.name in rules) and not (quick and c.rule.dear)]
    seen = Counter[str]()
    by_component: dict[str, list[Check]] = {}
    for check in chosen:
        by_component.setdefault(check.case.name, []).append(check)
    for component, of_component in by_component.items():
        seen.update(_check(component, of_component, verbose))
    click.echo(f"{seen['kept']} kept, {seen['broken']} broken, {seen['not judged']} not judged")
    if seen["broken"]:
        sys.exit(1)


def _check(component: str, checks: list[Check], verbose: bool) -> Counter[str]:
    """Tries one component's checks, and tells what came of them."""
    click.secho(f"{component}  {checks[0].case.distribution}", bold=True)
    verdicts: list[Verdict] = []
    for check in checks:
        if sys.stderr.isatty():  # some rules take seconds
            click.echo(f"\r\033[K  {check.rule.name} …", nl=False, err=True)
        verdicts.append(check.judge())
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    told = set()
    for verdict in verdicts:
        if verdict.broken is not None:
            if str(verdict.broken) in told:  # by an example before it
                continue
            told.add(str(verdict.broken))
            click.echo(f"  {click.style('broken', fg='red', bold=True)}  " + str(verdict.broken).replace("\n", "\n  "))
        elif verbose:
            example = f", example {verdict.check.case.number}" if verdict.check.case.number else ""
            says = f": {verdict.says}" if verdict.says else f": {verdict.check.rule.promise}"
            click.echo(f"  {verdict.outcome:<10}  {verdict.check.rule.name}{example}{says}")
    counts = Counter[str](verdict.outcome for verdict in verdicts)
    click.echo("  " + ", ".join(f"{counts[word]} {word}" for word in ("kept", "broken", "not judged") if counts[word]))
    return counts


def _list(found: Registry) -> None:
    wrong = 0
    for plugin in found.plugins:
        if plugin.left_out:
            click.secho(f"{plugin.name}  {plugin.owner}  left out by {SKIP}", dim=True)
        elif plugin.failure:
            wrong += 1
            _tell_failure(plugin)
        else:
            wrong += bool(plugin.warning)
            _tell(plugin)
    if wrong:
        raise click.exceptions.Exit(1)


def _tell(plugin: Plugin) -> None:
    click.secho(f"{plugin.name}  {plugin.owner}", bold=True)
    click.echo(f"  in {plugin.location}")
    for hook, components in sorted(plugin.components.items()):
        names = ", ".join(f"{short} ({getattr(cls, '__name__', 'command')})" for short, cls in components.items())
        if names:
            click.echo(f"  {hook.removeprefix('didact_').replace('_', ' ')}: {names}")
    if plugin.warning:
        click.echo(f"  {click.style('warning', fg='yellow', bold=True)} {plugin.warning}")


def _tell_failure(plugin: Plugin) -> None:
    click.secho(f"{plugin.name}  {plugin.owner}  cannot be used", fg="red", bold=True)
    click.echo(f"  module  {plugin.module}")
    click.echo(f"  why     {plugin.failure}")
    click.echo(f"  mend    {plugin.mend}")
