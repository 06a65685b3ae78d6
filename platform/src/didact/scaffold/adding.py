"""Adding a component to a plugin that `didact plugin new` wrote and somebody has gone on writing."""

from __future__ import annotations

import shutil
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path

import attrs

from didact.errors import PluginError, did_you_mean
from didact.machine.disk import writing
from didact.plugins import EXAMPLES, GROUP
from didact.scaffold import KINDS, check_class, check_word, class_name, filled, words_of
from didact.scaffold.inserting import Script
from didact.scaffold.registering import exporting, placed, registered, registering


@attrs.frozen(kw_only=True)
class Addition:
    """What adding a component comes to; nothing is written yet.

    Attributes:
        component: its full name, such as ``stripes/ear``.
        package: that has it.
        cls: its class.
        module: its file, which is new.
        files: ``path → content`` of every file that is written; empty where there is an obstacle.
        lines: what is added, to be pasted by hand where there is an obstacle.
        obstacle: why the plugin's own files cannot be changed; None where they can.
    """

    component: str
    package: str
    cls: str
    module: Path
    files: Mapping[Path, str]
    lines: str
    obstacle: PluginError | None

    def write(self) -> None:
        """Writes every file, or none.

        Raises:
            PluginError: there is an obstacle.
            RunError: the disk refused.
        """
        if self.obstacle is not None:
            raise self.obstacle
        _write_together(self.files)


@attrs.frozen(kw_only=True)
class Home:
    """A plugin's own files.

    Attributes:
        plugin: its name.
        package: its package's name.
        source: the package's folder.
        module: the file that its entry point names.
    """

    plugin: str
    package: str
    source: Path
    module: Path

    @property
    def exports(self) -> Path:
        """The package's public list."""
        return self.source / "__init__.py"


def plan(name: str, kind: str, folder: Path) -> Addition:
    """Finds out how a component is added to a plugin, and whether it can be.

    Args:
        name: of the component, such as ``ear``; it will be known as ``PLUGIN/ear``. One that is called as its kind is
            gets a class that is called after the plugin, as the first one has.
        kind: of the component, one of `KINDS`.
        folder: of the plugin's distribution.

    Returns:
        what is to be written; or, where a file has a shape that is not known, what is to be pasted.

    Raises:
        PluginError: the kind is unknown, the folder has no plugin, or the name cannot be used or is taken.
    """
    if kind not in KINDS:
        raise PluginError(f"there is no kind {kind!r} of component", where="--kind", mend=did_you_mean(kind, KINDS))
    home = _home(folder)
    short = name.removeprefix(f"{home.plugin}/")
    check_word(short, "a component")
    about = KINDS[kind]
    cls = class_name(home.plugin if short == kind else short, about.suffix)
    check_class(cls)
    module = _module(home, short, about.module, about.suffix)
    words = words_of(home.plugin, kind, package=home.package, short=short, cls=cls, module=module.stem)
    words["component"] = filled(f"{kind}.py", words)
    texts = {path: _read(path) for path in (home.module, home.exports)}
    _check_taken(home, texts, short, cls)
    files: dict[Path, str] = {}
    obstacle = None
    try:
        files = {
            module: words["component"],
            home.module: placed(home.module, registering, texts[home.module], words),
            home.exports: placed(home.exports, exporting, texts[home.exports], words),
        }
    except PluginError as error:
        obstacle = PluginError(
            f"a file of the plugin's cannot be extended safely: {error.what}",
            where=error.where,
            mend="nothing was written; paste the lines above by hand, and `didact plugin check` says whether all fits",
        )
    return Addition(
        component=f"{home.plugin}/{short}",
        package=home.package,
        cls=cls,
        module=module,
        files=files,
        lines=_lines(home, module, words, texts),
        obstacle=obstacle,
    )


def _home(folder: Path) -> Home:
    """The plugin whose distribution lies in a folder.

    Raises:
        PluginError: none does, or none whose files can be found.
    """
    manifest = folder / "pyproject.toml"
    mend = "go into the folder of a plugin, or name one: --to FOLDER; `didact plugin new` makes one"
    if not manifest.is_file():
        raise PluginError("there is no plugin here: pyproject.toml is missing", where=str(folder), mend=mend)
    try:
        project = tomllib.loads(manifest.read_text(encoding="utf-8"))
        plugins = dict(project.get("project", {}).get("entry-points", {}).get(GROUP, {}))
    except (ValueError, AttributeError, TypeError, OSError) as error:  # no TOML, or tables that are none
        raise PluginError(f"it cannot be read: {error}", where=str(manifest), mend="mend the file") from None
    if not plugins:
        raise PluginError(f"there is no plugin here: no entry point of {GROUP!r}", where=str(manifest), mend=mend)
    if len(plugins) > 1:
        raise PluginError(
            f"there are several plugins here: {', '.join(plugins)}",
            where=str(manifest),
            mend="copy a component's file and its lines by hand; this is for distributions of one plugin",
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
        mend=f"name a module in a package below src/, such as didact_{plugin}.plugin, as `didact plugin new` does",
    )


def _module(home: Home, short: str, usual: str, suffix: str) -> Path:
    """The component's file: called as the kind's always is, or where that is taken, after the component."""
    particular = f"{short.removesuffix(f'-{suffix.lower()}').replace('-', '_')}_{usual}"
    for name in (usual, particular):
        path = home.source / f"{name}.py"
        if not path.exists() and not (home.source / name).exists():
            return path
    raise PluginError(f"there is a file {path.name} already", where=str(path), mend="take another name")


def _check_taken(home: Home, texts: Mapping[Path, str], short: str, cls: str) -> None:
    """Raises where the component's name or its class's is something else's; what cannot be read is an obstacle."""
    scripts = {path: script for path, text in texts.items() if (script := _script(text)) is not None}
    if home.module in scripts:
        for hook, names in registered(scripts[home.module]).items():
            if short in names:
                raise PluginError(
                    f"the plugin {home.plugin!r} has a {short!r} already, in {hook}",
                    where=str(home.module),
                    mend="take another name",
                )
    for path, script in scripts.items():
        if cls in script.bound():
            raise PluginError(f"there is a {cls} already", where=str(path), mend="take another name")


def _script(text: str) -> Script | None:
    try:
        return Script(text)
    except PluginError:
        return None


def _lines(home: Home, module: Path, words: dict[str, str], texts: Mapping[Path, str]) -> str:
    """What is added, file by file, for somebody's own hands."""
    script = _script(texts[home.module])
    there = script is not None and words["hook"] in script.bound()
    own = f"from {words['package']}.{words['module']} import {words['Class']}"
    entry = f'"{words["short"]}": {words["Class"]}'
    imported = "" if there else f"\nfrom didact import {words['base']}"
    parts = [
        (f"{module}: a new file", words["component"].rstrip()),
        (f"{home.module}: beside the imports", own + imported),
        (f"{home.module}: in what {words['hook']} returns", f"{entry},")
        if there
        else (f"{home.module}: a function", words["registration"]),
        (f"{home.module}: in {EXAMPLES}", f"from didact.testing import {words['testing']}"),
        (f"{home.module}: in what {EXAMPLES} returns", textwrap.dedent(words["example"])),
        (f"{home.exports}: beside the imports", own),
        (f"{home.exports}: in __all__", f'"{words["Class"]}",'),
    ]
    return "\n\n".join(f"# {where}\n{text}" for where, text in parts)


def _read(path: Path) -> str:
    """A file's text with its ends of lines as they are."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"it cannot be read: {error}", where=str(path), mend="save it as UTF-8 text") from None


def _write_together(files: Mapping[Path, str]) -> None:
    """Writes all files or none: what the disk may refuse comes before the first one is replaced."""
    before = {path: path.read_bytes() if path.exists() else None for path in files}
    partial = {path: path.with_name(f".partial-{path.name}") for path in files}
    mend = "make it writable, or free some space; nothing was changed"
    try:
        for path, text in files.items():
            with writing(path.name, path, mend=mend):
                partial[path].write_bytes(text.encode())
                if before[path] is not None:
                    shutil.copymode(path, partial[path])
        for path in files:
            with writing(path.name, path, mend=mend):
                partial[path].replace(path)
    except BaseException:
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            elif path.read_bytes() != content:
                path.write_bytes(content)
        raise
    finally:
        for path in files:
            partial[path].unlink(missing_ok=True)
