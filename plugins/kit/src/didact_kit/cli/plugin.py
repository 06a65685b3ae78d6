"""``didact plugin``: show, write, extend and check plugins."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from didact.errors import DidactError, PluginError, did_you_mean
from didact.plugins import SKIP, Plugin, registry

if TYPE_CHECKING:
    from didact_kit import Check, Verdict
    from didact_kit.scaffold.adding import Addition

OUTCOMES = ("kept", "broken", "crashed", "not judged")
KINDS_HELP = "Kind of the component: masker, backbone, source, …; see below."


@click.group("plugin", short_help="Show, write, extend and check plugins.")
def plugin_group() -> None:
    """Show a component, write a new plugin, add a component to a plugin, or check a plugin.

    `didact plugins` lists the installed plugins.

    \b
        didact plugin show vision/random
        didact plugin new stripes --kind masker
        didact plugin add ear --kind target-builder --to didact-stripes
        didact plugin check stripes
    """


@plugin_group.command("show", short_help="Show a component: its fields, its source, and where it is used.")
@click.argument("name", metavar="NAME")
@click.option(
    "--in",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Folder that is searched for uses: experiment files and runs.  "
    "[default: experiments/ and runs/, where they exist]",
)
def show_command(name: str, folders: tuple[Path, ...]) -> None:
    """Show the component NAME, such as `vision/random`, or all components of a plugin.

    Prints fields, types, defaults and their meaning, where the class is defined, which fields of other components may
    hold it, and which experiment files and runs use it.
    """
    from didact_kit.cli.describing import describe
    from didact_kit.contracts import find

    plugin, short = find(name, registry())
    _require_usable(plugin, short)
    places = folders or tuple(path for path in (Path("experiments"), Path("runs")) if path.is_dir())
    for line in describe(plugin, short, places, registry()):
        click.echo(line)


@plugin_group.command("new", short_help="Write a small, complete plugin to start from.")
@click.argument("name", metavar="NAME")
@click.option("--kind", required=True, metavar="KIND", help=KINDS_HELP)
@click.option(
    "--out", type=click.Path(path_type=Path), help="New folder; must be empty or missing.  [default: didact-NAME]"
)
def new_command(name: str, kind: str, out: Path | None) -> None:
    """Write a distribution with one component, which can be installed, trained and checked without changes.

    KIND is masker, feature-encoder, backbone, target-builder, objective, teacher, source, evaluation, optimizer,
    schedule or observer.

    \b
        didact plugin new stripes --kind masker
        uv pip install -e didact-stripes
        didact run didact-stripes/experiment.py
        didact plugin check stripes
    """
    from didact_kit.scaffold.writing import write

    folder, files = write(name, kind, out)
    click.echo(f"{folder}/")
    for path in files:
        click.echo(f"  {path}")
    short = name.removeprefix("didact-")
    click.echo("next:")
    click.echo(f"  uv pip install -e {folder}          # or: pip install -e {folder}")
    click.echo(f"  didact run {folder}/experiment.py --smoke")
    click.echo(f"  didact plugin check {short}")


@plugin_group.command("add", short_help="Add a component to a plugin of your own.")
@click.argument("name", metavar="NAME")
@click.option("--kind", required=True, metavar="KIND", help=KINDS_HELP)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder of the plugin, with its pyproject.toml.  [default: the current folder]",
)
def add_command(name: str, kind: str, folder: Path) -> None:
    """Write the file of a component into a plugin, and print the lines that register, try and export the component.

    The component's full name is PLUGIN/NAME. No existing file is changed. Paste the printed lines where the command
    says; `didact plugin check` then confirms that they are correct.

    KIND is masker, feature-encoder, backbone, target-builder, objective, teacher, source, evaluation, optimizer,
    schedule or observer.

    \b
        didact plugin add ear --kind target-builder --to didact-stripes
        didact plugin check stripes/ear
    """
    from didact_kit.scaffold.adding import add
    from didact_kit.scaffold.experiments import usage

    addition = add(name, kind, folder)
    click.echo(f"{addition.module}  (new)")
    click.echo("paste these lines:\n")
    click.echo(pasted(addition))
    click.echo("next:")
    click.echo(f"  didact plugin check {addition.component}")
    click.echo(f"  from {addition.package} import {addition.cls}  # in an experiment: {usage(kind, addition.cls)}")


def pasted(addition: Addition) -> str:
    """Formats the lines to paste; each block has a comment that names its file and place."""
    return "".join(f"# {paste.file}, {paste.place}:\n{paste.lines}\n\n" for paste in addition.pastes)


@plugin_group.command("check", short_help="Check a plugin against the contract, rule by rule.")
@click.argument("names", metavar="NAME", nargs=-1, required=True)
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="Only this rule. Repeatable.")
@click.option("--quick", is_flag=True, help="Skip rules that take seconds: compilation and several processes.")
@click.option("-v", "--verbose", is_flag=True, help="Report every rule, not only those that are broken.")
def check_command(names: tuple[str, ...], rules: tuple[str, ...], quick: bool, verbose: bool) -> None:
    """Check NAME against the contract: a plugin, its distribution, or one component (`stripes/masker`).

    Each component is checked on the examples that the plugin gives (the hook `didact_examples`); a part of another
    part, such as a head, inside a part that holds it. For a broken rule, the command reports the example, what was seen
    and a hint; for an error, its traceback, once. It then exits with 1. `didact_kit.contract` gives pytest the same
    checks.
    """
    seen = Counter[str]()
    by_component: dict[str, list[Check]] = {}
    for check in _chosen(names, rules, quick):
        by_component.setdefault(check.case.name, []).append(check)
    for component, of_component in by_component.items():
        seen.update(_check(component, of_component, verbose))
    click.echo(f"{_counted(seen, OUTCOMES)}")
    if seen["broken"] or seen["crashed"]:
        sys.exit(1)


def _chosen(names: tuple[str, ...], rules: tuple[str, ...], quick: bool) -> list[Check]:
    """Selects the checks for the command line; always includes those that show why a component cannot be checked."""
    from didact_kit import contract
    from didact_kit.distributions import USABLE

    checks = contract(*names)
    if not rules:
        return [check for check in checks if not (quick and check.rule.dear)]
    unusable = [check for check in checks if check.rule in USABLE and check.judge().broken is not None]
    known = {check.rule.name for check in checks}
    for rule in rules:
        if rule not in known and not unusable:
            raise DidactError(f"no rule {rule!r} binds {' or '.join(names)}", hint=did_you_mean(rule, known))
    chosen = [check for check in checks if check.rule.name in rules and not (quick and check.rule.dear)]
    return [check for check in checks if check in unusable or check in chosen]


def _check(component: str, checks: list[Check], verbose: bool) -> Counter[str]:
    """Runs the checks of one component; reports each broken rule as it is found, and the outcomes at the end."""
    click.secho(f"{component}  {checks[0].case.distribution}", bold=True)
    verdicts: list[Verdict] = []
    reported = set[tuple[str, str]]()
    for check in checks:
        if sys.stderr.isatty():  # some rules take seconds
            click.echo(f"\r\033[K  {check.rule.name} …", nl=False, err=True)
        verdict = check.judge()
        verdicts.append(verdict)
        if sys.stderr.isatty():
            click.echo("\r\033[K", nl=False, err=True)
        if verdict.broken is not None:
            if (check.rule.name, verdict.says) not in reported:  # otherwise reported by an earlier example
                reported.add((check.rule.name, verdict.says))
                word = click.style(verdict.outcome, fg="red", bold=True)
                click.echo(f"  {word}  " + str(verdict.broken).replace("\n", "\n  "))
        elif verbose:
            example = f", example {check.case.number + 1}" if check.case.number else ""
            says = f": {verdict.says}" if verdict.says else f": {check.rule.promise}"
            click.echo(f"  {verdict.outcome:<10}  {check.rule.name}{example}{says}")
        elif verdict.outcome == "not judged" and check.rule.name == "holder":  # only the part's fields were looked at
            click.echo(f"  {verdict.outcome}  {verdict.says}; {check.rule.hint}")
    if met := list(dict.fromkeys(verdict.check.rule.name for verdict in verdicts if verdict.met)):
        click.echo(f"  not judged because of these errors: {', '.join(met)}")
    counts = Counter[str](verdict.outcome for verdict in verdicts)
    click.echo(f"  {_counted(counts, [word for word in OUTCOMES if counts[word]])}")
    return counts


def _counted(counts: Counter[str], words: Sequence[str]) -> str:
    shown = [word for word in words if counts[word] or word != "crashed"]
    return ", ".join(f"{counts[word]} {word}" for word in shown)


def _require_usable(plugin: Plugin, short: str) -> None:
    """Raises a `PluginError` if the plugin, or the named component, cannot be used."""
    where = f"{plugin.owner}, {plugin.module}"
    if plugin.skipped:
        raise PluginError(f"{SKIP} leaves out the plugin {plugin.name!r}", where=where, hint=f"remove it from {SKIP}")
    if plugin.failure:
        raise PluginError(f"the plugin {plugin.name!r} cannot be used: {plugin.failure}", where=where, hint=plugin.hint)
    for hook, own in plugin.entries():
        if own == short:
            plugin.resolve(hook, short)
    if short in plugin.commands:
        plugin.command(short)
