"""Adds a component to an existing plugin: writes its file, and lines to paste into the plugin's other files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import attrs

from didact.errors import PluginError, did_you_mean
from didact.machine.disk import write_text
from didact.plugins import GROUP
from didact_kit.scaffold.filling import (
    check_class,
    check_word,
    class_name,
    examples_of,
    filled,
    registered,
    registration,
    words_of,
)
from didact_kit.scaffold.kinds import KINDS


@attrs.frozen(kw_only=True)
class Paste:
    """Lines to paste into a file of the plugin.

    Attributes:
        file: the file to change.
        place: the place in the file.
        lines: the lines to paste there, with their indentation.
    """

    file: Path
    place: str
    lines: str


@attrs.frozen(kw_only=True)
class Addition:
    """A component that was added.

    Attributes:
        component: the full name of the component, such as ``stripes/ear``.
        package: the package that contains the component.
        cls: the name of the component's class.
        module: the file that was written.
        pastes: the lines that register, try and export the component.
    """

    component: str
    package: str
    cls: str
    module: Path
    pastes: tuple[Paste, ...]


@attrs.frozen(kw_only=True)
class Home:
    """The files of a plugin's own distribution.

    Attributes:
        plugin: the name of the plugin.
        package: the name of the plugin's package.
        source: the folder of the package.
        module: the file that the plugin's entry point names.
    """

    plugin: str
    package: str
    source: Path
    module: Path

    @property
    def examples(self) -> Path:
        """The file with the examples for the contract."""
        return self.source / "examples.py"

    @property
    def exports(self) -> Path:
        """The public list of the package: ``__init__.pyi``, or ``__init__.py`` if that does not exist."""
        stub = self.source / "__init__.pyi"
        return stub if stub.exists() else self.source / "__init__.py"


def add(name: str, kind: str, folder: Path) -> Addition:
    """Writes a component's file into a plugin.

    Args:
        name: the name of the component, such as ``ear``; its full name is ``PLUGIN/ear``. If it equals the kind, the
            class is named after the plugin, as in a new plugin.
        kind: the kind of the component, one of `KINDS`.
        folder: the folder of the plugin's distribution.

    Raises:
        PluginError: the kind is unknown, the folder has no plugin, or the name is invalid or taken.
        RunError: the file cannot be written.
    """
    if kind not in KINDS:
        raise PluginError(f"there is no kind {kind!r} of component", where="--kind", hint=did_you_mean(kind, KINDS))
    home = _home(folder)
    short = name.removeprefix(f"{home.plugin}/")
    check_word(short, "a component")
    about = KINDS[kind]
    cls = class_name(home.plugin if short == kind else short, about.suffix)
    check_class(cls)
    _check_free(home, short, cls)
    module = _module(home, short, about.module, about.suffix)
    words = words_of(home.plugin, kind, package=home.package, short=short, cls=cls, module=module.stem)
    write_text(module, filled(f"{kind}.py", words))
    return Addition(
        component=f"{home.plugin}/{short}",
        package=home.package,
        cls=cls,
        module=module,
        pastes=_pastes(home, kind, short, cls, f"{home.package}.{module.stem}"),
    )


def _pastes(home: Home, kind: str, short: str, cls: str, module: str) -> tuple[Paste, ...]:
    about = KINDS[kind]
    place = f"{module}:{cls}"
    if f"def {about.hook}(" in _read(home.module):
        entry = f"        {registered((short, place))}"
        registering = Paste(file=home.module, place=f"in what {about.hook} returns", lines=entry)
    else:
        registering = Paste(file=home.module, place="at the end", lines=registration(about.hook, {short: place}))
    testing = f"from didact_kit import {', '.join(about.testing)}\n" if about.testing else ""
    own = f"from {module} import {cls}"
    listed = home.exports.suffix == ".pyi"
    export = f"from .{module.partition('.')[2]} import {cls} as {cls}" if listed else own
    return (
        registering,
        Paste(file=home.examples, place="after the imports", lines=testing + own),
        Paste(file=home.examples, place="in what examples returns", lines=examples_of(kind, short, cls)),
        Paste(file=home.exports, place="at the end", lines=export),
    )


def _home(folder: Path) -> Home:
    """Finds the plugin of the distribution in a folder.

    Raises:
        PluginError: the folder has no plugin, or none whose files can be found.
    """
    manifest = folder / "pyproject.toml"
    hint = "go to the folder of a plugin, or name one: --to FOLDER; `didact plugin new` writes one"
    if not manifest.is_file():
        raise PluginError("there is no plugin here: pyproject.toml is missing", where=str(folder), hint=hint)
    try:
        project = tomllib.loads(manifest.read_text(encoding="utf-8"))
        plugins = dict(project.get("project", {}).get("entry-points", {}).get(GROUP, {}))
    except (ValueError, AttributeError, TypeError, OSError) as error:  # not TOML, or values that are not tables
        raise PluginError(f"it cannot be read: {error}", where=str(manifest), hint="correct the file") from None
    if not plugins:
        raise PluginError(f"there is no plugin here: no entry point of {GROUP!r}", where=str(manifest), hint=hint)
    if len(plugins) > 1:
        raise PluginError(
            f"there are several plugins here: {', '.join(plugins)}",
            where=str(manifest),
            hint="copy a component's file and its lines by hand; the command supports one plugin for each distribution",
        )
    ((plugin, value),) = plugins.items()
    package, _, module = str(value).rpartition(".")
    for root in (folder / "src", folder):
        source = root.joinpath(*package.split("."))
        if package and (source / f"{module}.py").is_file() and (source / "__init__.py").is_file():
            return Home(plugin=plugin, package=package, source=source, module=source / f"{module}.py")
    raise PluginError(
        f"the plugin's entry point {plugin} is {value!r}, and there is no such module in a package here",
        where=str(manifest),
        hint=f"name a module in a package below src/, such as didact_{plugin}.plugin, as `didact plugin new` does",
    )


def _module(home: Home, short: str, usual: str, suffix: str) -> Path:
    """The component's file, named after the kind; if that file exists, the component's name is added."""
    particular = f"{short.removesuffix(f'-{suffix.lower()}').replace('-', '_')}_{usual}"
    for name in (usual, particular):
        path = home.source / f"{name}.py"
        if not path.exists() and not (home.source / name).exists():
            return path
    raise PluginError(f"there is a file {path.name} already", where=str(path), hint="choose another name")


def _check_free(home: Home, short: str, cls: str) -> None:
    """Raises a `PluginError` if the plugin already has the component's name or the name of its class."""
    if re.search(rf"""["']{re.escape(short)}["']\s*:""", _read(home.module)):
        raise PluginError(
            f"the plugin {home.plugin!r} has a {short!r} already", where=str(home.module), hint="choose another name"
        )
    for path in (home.module, home.exports):
        if re.search(rf"\b{cls}\b", _read(path)):
            raise PluginError(f"there is a {cls} already", where=str(path), hint="choose another name")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"it cannot be read: {error}", where=str(path), hint="save it as UTF-8 text") from None
