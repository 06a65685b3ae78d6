"""Writes a new plugin: a small, complete distribution that can be installed, trained and checked without changes."""

from __future__ import annotations

import keyword
from pathlib import Path

from didact.errors import PluginError, did_you_mean
from didact.machine.disk import write_text
from didact.machine.disk import writing as reported
from didact.plugins import COMPONENTS, registry
from didact_kit.scaffold.experiments import experiment
from didact_kit.scaffold.filling import (
    check_class,
    check_word,
    class_name,
    examples_of,
    filled,
    registration,
    words_of,
)
from didact_kit.scaffold.kinds import KINDS

SERIES = "Series"  # the source of the example experiment, for all kinds of plugins except sources


def write(name: str, kind: str, folder: Path | None = None) -> tuple[Path, list[Path]]:
    """Writes the distribution of a new plugin.

    Args:
        name: the name of the plugin, such as ``stripes``; its distribution is called ``didact-stripes``.
        kind: the kind of its component, one of `KINDS`.
        folder: the folder to write, which must be empty or missing; by default, a folder named after the distribution
            here.

    Returns:
        The folder, and the files in it.

    Raises:
        PluginError: the kind is unknown, the name is invalid or taken, or the folder is not empty.
        RunError: the folder cannot be written.
    """
    name = name.removeprefix("didact-")
    if kind not in KINDS:
        raise PluginError(f"there is no kind {kind!r} of plugin", where="--kind", hint=did_you_mean(kind, KINDS))
    _check_name(name)
    check_class(class_name(name, KINDS[kind].suffix))
    folder = folder if folder is not None else Path(f"didact-{name}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PluginError("the folder is not empty", where=str(folder), hint="choose another name, or --out FOLDER")
    files = _files(name, kind)
    for path, text in files.items():
        with reported("the new plugin", folder / path):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / path, text)
    return folder, [Path(path) for path in files]


def _files(name: str, kind: str) -> dict[str, str]:
    """Returns every file of the distribution, ``path → content``."""
    about, package = KINDS[kind], f"didact_{name.replace('-', '_')}"
    cls = class_name(name, about.suffix)
    words = words_of(name, kind, package=package, short=kind, cls=cls, module=about.module)
    series = {} if kind == "source" else {"series": (SERIES, f"{package}.series")}
    words |= _own_words(kind, cls, f"{package}.{about.module}", series)
    source = f"src/{package}"
    return {
        "pyproject.toml": filled("pyproject.toml", words),
        "README.md": filled("README.md", words),
        f"{source}/__init__.py": filled("init.py", words),
        f"{source}/__init__.pyi": words["exports"] + "\n",
        f"{source}/{about.module}.py": filled(f"{kind}.py", words),
        **({f"{source}/series.py": filled("source.py", words | {"Class": SERIES})} if series else {}),
        f"{source}/plugin.py": filled("plugin.py", words),
        f"{source}/examples.py": filled("examples.py", words),
        f"{source}/py.typed": "",
        "tests/test_contract.py": filled("test_contract.py", words),
        "experiment.py": experiment(name, kind, package, cls),
    }


def _own_words(kind: str, cls: str, module: str, series: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Returns the texts that fill the blanks of the plugin's own files, in addition to the component's.

    Args:
        kind: the kind of the component.
        cls: the name of the component's class.
        module: the module that contains the component.
        series: the source beside the component, ``short name → (class, module)``; empty if the component is a source.
    """
    about = KINDS[kind]
    hooks = {about.hook: {kind: f"{module}:{cls}"}}
    hooks.setdefault(COMPONENTS, {}).update({short: f"{place}:{own}" for short, (own, place) in series.items()})
    classes = sorted([(module, cls), *((place, own) for own, place in series.values())])
    beside = "".join(f'\n        "{short}": [Example(spec={own}(count=8))],' for short, (own, _) in series.items())
    return {
        "registrations": "\n\n\n".join(registration(hook, places) for hook, places in hooks.items() if places),
        "testing": ", ".join(("Example", *about.testing)),
        "imports": "\n".join(f"from {place} import {own}" for place, own in classes),
        "exports": "\n".join(f"from .{place.partition('.')[2]} import {own} as {own}" for place, own in classes),
        "examples": examples_of(kind, kind, cls) + beside,
        "series_row": _series_row(module) if series else "",
    }


def _series_row(module: str) -> str:
    """Returns the line about the series in the table of a plugin's README."""
    package = module.partition(".")[0]
    where = f"`src/{package}/series.py`"
    return f"\n| {where} | generated series for `experiment.py`; delete it once you train on your own data |"


def _check_name(name: str) -> None:
    check_word(name, "a plugin")
    if keyword.iskeyword(name):
        raise PluginError(f"{name!r} is a keyword of Python", where="NAME", hint="choose another name")
    for plugin in registry().plugins:
        if plugin.name == name:
            raise PluginError(
                f"there is a plugin {name!r} already, of {plugin.owner}",
                where="NAME",
                hint="choose another name; of two plugins of one name, neither can be used",
            )
