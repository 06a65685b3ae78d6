"""The tables of the reference as Markdown: components, the contract, commands and rules."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
from public_names import exists, packages

from didact.cli import cli
from didact.plugins import registry

KIND_TITLES = {
    "didact.contracts.network:FeatureEncoder": "Feature encoders",
    "didact.contracts.network:Masker": "Maskers",
    "didact.contracts.network:Backbone": "Backbones",
    "didact.contracts.targets:TargetBuilder": "Target builders",
    "didact.contracts.targets:Teacher": "Teachers",
    "didact.contracts.targets:Objective": "Objectives",
    "didact.contracts.data:Source": "Sources",
    "didact_vision:Augmentation": "Augmentations",
    "didact.contracts.optimizer:Optimizer": "Optimizers",
    "didact.schedules:Schedule": "Schedules",
    "didact.experiment:Evaluation": "Evaluations",
    "didact.experiment:Observer": "Observers",
    "didact_ablate:Study": "Studies",
    "didact_ablate:RunFinder": "Run finders",
    "didact_stores:Medium": "Media",
    "didact.spec:Spec": "Other parts",
}
RULE_TITLES = {
    "plugin": "Every plugin",
    "part": "Every spec",
    "feature-encoder": "A feature encoder",
    "objective": "An objective",
    "evaluation": "An evaluation",
    "observer": "An observer",
    "optimizer": "An optimizer",
}


def components() -> Iterator[str]:
    """The components that the installed plugins register, by kind."""
    contracts = {title: _class(place) for place, title in KIND_TITLES.items()}
    rows: dict[str, list[str]] = {title: [] for title in contracts}
    for plugin in registry().plugins:
        if plugin.module.split(".")[0] not in packages():
            continue
        for hook, named in plugin.components.items():
            for short in named:
                cls = plugin.resolve(hook, short)
                title = next(
                    (title for title, contract in contracts.items() if issubclass(cls, contract)), "Other parts"
                )
                package = cls.__module__.split(".")[0]
                path = f"{package}.{cls.__name__}"
                link = f"{{py:obj}}`~{path}`" if exists(path) else f"`{cls.__name__}`"
                rows[title].append(_row(f"`{plugin.name}/{short}`", link, _first_line(cls), f"`{package}`"))
    for title, lines in rows.items():
        if lines:
            yield from [f"## {title}", "", "| name | class | | import from |", "| --- | --- | --- | --- |", *lines, ""]


def contract() -> Iterator[str]:
    """The public names of the core, by the module that defines them."""
    didact = importlib.import_module("didact")
    by_module: dict[str, list[str]] = {}
    for name in didact.__all__:
        by_module.setdefault(getattr(didact, name).__module__, []).append(name)
    for module, names in sorted(
        by_module.items(), key=lambda item: (not item[0].startswith("didact.contracts"), item[0])
    ):
        text = _plain(inspect.getdoc(importlib.import_module(module)) or "").split("\n\n")[0]
        yield from [f"## {module}", "", text, "", "| name | |", "| --- | --- |"]
        yield from (_row(f"{{py:obj}}`~didact.{name}`", _first_line(getattr(didact, name))) for name in names)
        yield ""


def commands() -> Iterator[str]:
    """The commands and their options, formatted here because click's own format changes between versions."""
    for name, command in _commands(cli, click.Context(cli, info_name="didact")):
        arguments = [_argument(parameter) for parameter in command.params if isinstance(parameter, click.Argument)]
        yield from [
            f"## didact {name}",
            "",
            f"`{' '.join(['didact', name, '[OPTIONS]', *arguments])}`",
            *_help(command),
            "",
        ]
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        if options:
            yield from ["| option | |", "| --- | --- |", *(_option(option) for option in options), ""]


def rules() -> Iterator[str]:
    """The rules of the contract, by the kind of part to which they apply."""
    from didact_kit.distributions import RULES as OF_DISTRIBUTIONS
    from didact_kit.table import RULES

    every = (*OF_DISTRIBUTIONS, *RULES)
    for kind in dict.fromkeys(["plugin", "part", *(kind for rule in every for kind in rule.kinds)]):
        own = [rule for rule in every if kind in rule.kinds and (kind == "part" or "part" not in rule.kinds)]
        if own:
            title = RULE_TITLES.get(kind, f"A {kind}".replace("-", " "))
            yield from [f"## {title}", "", "| rule | what is promised | how it is kept |", "| --- | --- | --- |"]
            yield from (_row(f"`{rule.name}`", _plain(rule.promise), _plain(rule.hint)) for rule in own)
            yield ""


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "components": components,
    "contract": contract,
    "commands": commands,
    "rules": rules,
}


def _class(place: str) -> type:
    module, _, name = place.partition(":")
    cls: type = getattr(importlib.import_module(module), name)
    return cls


def _first_line(value: Any) -> str:
    return _plain((inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " "))


def _plain(text: str) -> str:
    """Docstrings write code in double backquotes, Markdown in single ones."""
    return text.replace("``", "`")


def _row(*cells: str) -> str:
    escaped = (re.sub(r"(`[^`]*`)|<", lambda match: match.group(1) or "\\<", cell) for cell in cells)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in escaped) + " |"


def _commands(group: click.Group, context: click.Context, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its words; the commands of a group follow it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, context, f"{before}{name} ")


def _help(command: click.Command) -> Iterator[str]:
    """A command's help as Markdown; paragraphs that click leaves unwrapped become code."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            yield from ["", "```sh", *(line.strip() for line in paragraph.split("\n")[1:]), "```"]
        else:
            yield from ["", *paragraph.split("\n")]


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    name = f"{name.rstrip('…')}…" if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> str:
    choices = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else option.type.name.upper()
    value = "" if option.is_flag else f" {option.metavar or choices}"
    default = f" Default: `{option.default}`." if option.show_default and option.default is not None else ""
    return _row(f"`{', '.join([*option.opts, *option.secondary_opts])}{value}`", f"{option.help or ''}{default}")
