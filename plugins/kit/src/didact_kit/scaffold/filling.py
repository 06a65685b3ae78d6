"""The text that fills the blanks of templates: a component, its registration and its examples."""

from __future__ import annotations

import importlib.resources
import re
import string

import didact
from didact.errors import PluginError
from didact.hookspecs import VERSION
from didact_kit.scaffold.kinds import KINDS

WIDTH = 120  # of a line of code


def words_of(plugin: str, kind: str, *, package: str, short: str, cls: str, module: str) -> dict[str, str]:
    """Returns the texts that fill the blanks of the templates.

    Args:
        plugin: the name of the plugin.
        kind: the kind of the component, one of `KINDS`.
        package: the package that contains the component.
        short: the component's name in the plugin.
        cls: the name of the component's class.
        module: the name of the component's file.
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
    """Fills the blanks of a template."""
    folder = importlib.resources.files("didact_kit.scaffold") / "templates"
    return string.Template((folder / f"{template}.template").read_text()).substitute(words)


def registration(hook: str, places: dict[str, str]) -> str:
    """Returns the code of a hook in a plugin's module.

    Args:
        hook: the name of the hook.
        places: the components to register, ``short name → module:Class``.
    """
    lines = [f"        {entry}" for entry in map(registered, places.items())]
    return "\n".join(
        ["@hookimpl", f"def {hook}() -> Mapping[str, str]:", "    return {", *lines, "    }"],
    )


def registered(item: tuple[str, str]) -> str:
    """Returns a component's line in the result of a hook, from its short name and the place of its class."""
    short, place = item
    return f'"{short}": "{place}",'


def examples_of(kind: str, short: str, cls: str) -> str:
    """Returns a component's lines in the result of a plugin's examples function."""
    lines = []
    for example in KINDS[kind].examples:
        arguments = string.Template(example).substitute(Class=cls)
        line = f"            Example({arguments}),"
        lines += (
            [line] if len(line) <= WIDTH else ["            Example(", f"                {arguments}", "            ),"]
        )
    return "\n".join([f'        "{short}": [', *lines, "        ],"])


def class_name(name: str, suffix: str) -> str:
    """Names the component's class: both ``stripes`` and ``stripes-masker`` give ``StripesMasker`` for ``Masker``."""
    return "".join(part.capitalize() for part in name.split("-")).removesuffix(suffix) + suffix


def check_word(name: str, what: str) -> None:
    """Raises a `PluginError` if a name is not a valid name for a plugin or component."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise PluginError(
            f"{name!r} is not a valid name for {what}",
            where="NAME",
            hint="use lowercase letters, digits and single hyphens, beginning with a letter, such as long-spans",
        )


def check_class(cls: str) -> None:
    """Raises a `PluginError` if the component's class would hide one that its file or its examples import."""
    if cls in dir(didact) or any(cls in about.testing for about in KINDS.values()):
        raise PluginError(
            f"its class would be called {cls}, which is the name of a class of didact",
            where="NAME",
            hint="choose a more specific name, such as long-spans",
        )


def _bounds() -> str:
    """Returns the versions of didact that have the same hooks as the installed version."""
    major, minor = map(int, VERSION.split("."))
    return f">={major}.{minor},<{major}.{minor + 1}"
