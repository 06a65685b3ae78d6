"""Templates and what stands in their blanks: a component, its registration, its examples."""

from __future__ import annotations

import importlib.resources
import re
import string

import didact
from didact.errors import PluginError
from didact.hookspecs import VERSION
from didact_kit.scaffold.kinds import KINDS

WIDTH = 120  # of a line


def words_of(plugin: str, kind: str, *, package: str, short: str, cls: str, module: str) -> dict[str, str]:
    """What stands in the blanks of the templates.

    Args:
        plugin: its name.
        kind: of the component, one of `KINDS`.
        package: that has the component.
        short: the component's name in the plugin.
        cls: the component's class.
        module: the component's file.
    """
    return {
        "plugin": plugin,
        "distribution": f"didact-{plugin}",
        "package": package,
        "identifier": plugin.replace("-", "_"),
        "Class": cls,
        "bounds": _bounds(),
        "kind_words": KINDS[kind].words,
        "module": module,
        "short": short,
    }


def filled(template: str, words: dict[str, str]) -> str:
    """A template with its blanks filled."""
    folder = importlib.resources.files("didact_kit.scaffold") / "templates"
    return string.Template((folder / f"{template}.template").read_text()).substitute(words)


def registration(hook: str, places: dict[str, str]) -> str:
    """A hook of a plugin's module.

    Args:
        hook: its name.
        places: what it registers, ``short name → module:Class``.
    """
    lines = [f"        {entry}" for entry in map(registered, places.items())]
    return "\n".join(
        ["@hookimpl", f"def {hook}() -> Mapping[str, str]:", "    return {", *lines, "    }"],
    )


def registered(item: tuple[str, str]) -> str:
    """A component's line in what a hook returns, from its short name and its class's place."""
    short, place = item
    return f'"{short}": "{place}",'


def examples_of(kind: str, short: str, cls: str) -> str:
    """A component's lines in what a plugin's examples function returns."""
    lines = []
    for example in KINDS[kind].examples:
        arguments = string.Template(example).substitute(Class=cls)
        line = f"            Example({arguments}),"
        lines += (
            [line] if len(line) <= WIDTH else ["            Example(", f"                {arguments}", "            ),"]
        )
    return "\n".join([f'        "{short}": [', *lines, "        ],"])


def class_name(name: str, suffix: str) -> str:
    """The component's class: ``stripes`` and ``Masker`` are ``StripesMasker``, and so is ``stripes-masker``."""
    return "".join(part.capitalize() for part in name.split("-")).removesuffix(suffix) + suffix


def check_word(name: str, what: str) -> None:
    """Raises a `PluginError` where a name is not written as names of plugins and components are."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise PluginError(
            f"{name!r} is not a valid name for {what}",
            where="NAME",
            hint="use lowercase letters, digits and single hyphens, beginning with a letter, such as long-spans",
        )


def check_class(cls: str) -> None:
    """Raises a `PluginError` where a component's class would hide one that its file or its examples import."""
    if cls in dir(didact) or any(cls in about.testing for about in KINDS.values()):
        raise PluginError(
            f"its class would be called {cls}, which is the name of a class of didact",
            where="NAME",
            hint="choose a more specific name, such as long-spans",
        )


def _bounds() -> str:
    """The versions of didact whose hooks are those of this one."""
    major, minor = map(int, VERSION.split("."))
    return f">={major}.{minor},<{major}.{minor + 1}"
