"""Finds the installed plugins, and reports why a plugin cannot be used.

pluggy's own entry-point loader silently skips duplicate names, and one broken plugin takes down the host. Here such
plugins are kept, with the reason, but not used. A component that is registered by its import path
(``"module:Class"``) is imported and checked when it is first needed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import operator
import os
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from didact.errors import PluginError, did_you_mean
from didact.hookspecs import VERSION, Registration
from didact.serialization import from_data, to_data
from didact.spec import Spec

GROUP = "didact"
SKIP = "DIDACT_SKIP"  # environment variable: plugins or distributions to leave out, separated by commas
KINDS = {  # the five contracts of a method, by hook; the class of any other component determines its kind
    "didact_feature_encoders": "didact.contracts.network:FeatureEncoder",
    "didact_maskers": "didact.contracts.network:Masker",
    "didact_backbones": "didact.contracts.network:Backbone",
    "didact_target_builders": "didact.contracts.targets:TargetBuilder",
    "didact_objectives": "didact.contracts.targets:Objective",
}
COMPONENTS, COMMANDS, EXAMPLES = "didact_components", "didact_commands", "didact_examples"
OWN_COMMANDS = {
    "run": "didact.cli.run:run_command",
    "resume": "didact.cli.run:resume_command",
    "plugins": "didact.cli:plugins_command",
}
OWN = {  # the core's own components
    "constant": "didact.schedules:Constant",
    "cosine": "didact.schedules:Cosine",
    "adamw": "didact.contracts.optimizer:AdamW",
}
HINT = "the hooks, their arguments and what they return are in didact.hookspecs"

Kind = TypeVar("Kind")


@attrs.frozen(kw_only=True)
class Plugin:
    """One entry point of the group ``didact``.

    Attributes:
        name: the entry point's name.
        distribution: the distribution that provides the plugin.
        version: the distribution's version.
        module: the module that the entry point names.
        location: the path of the module's file; empty if the module was not imported.
        components: ``hook → short name → class``, or the class's import path.
        commands: ``name → command``, or the command's import path.
        examples: the function that ``didact_examples`` returned, or its import path; None without such a hook.
        failure: why the plugin cannot be used; empty if it can be used.
        hint: how to fix the failure.
        skipped: whether ``DIDACT_SKIP`` leaves out the plugin; a skipped plugin is not imported.
        warning: a problem that does not prevent the use of the plugin.
    """

    name: str
    distribution: str
    version: str
    module: str
    location: str = ""
    components: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    commands: Mapping[str, Any] = attrs.field(factory=dict)
    examples: Any = None
    failure: str = ""
    hint: str = ""
    skipped: bool = False
    warning: str = ""

    @property
    def owner(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.version}"

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yields the hook and the short name of each component."""
        yield from ((hook, short) for hook, components in self.components.items() for short in components)

    def resolve(self, hook: str, short: str) -> type:
        """Imports and checks a component's class.

        Raises:
            PluginError: the class cannot be imported, or is not of the kind that its hook registers.
        """
        what = f"its {hook} registers {short!r}"
        cls = self.imported(what, self.components[hook][short])
        wanted = _at(KINDS[hook]) if hook in KINDS else object
        if not (isinstance(cls, type) and issubclass(cls, wanted)):
            raise self._wrong(f"{what} as {cls!r}, which is no {wanted.__name__} class")
        if issubclass(cls, Spec) and "__attrs_attrs__" not in vars(cls):  # of the class, not of a base
            raise self._wrong(f"its {short!r} ({cls.__name__}) is not decorated with @attrs.frozen(kw_only=True)")
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        if missing:
            hint = f"define {missing}, as its contract says"
            raise self._wrong(f"its {short!r} ({cls.__name__}) lacks {missing}", hint)
        return cls

    def command(self, word: str) -> Any:
        """Imports a command, a `click.Command`.

        Raises:
            PluginError: the command cannot be imported, or is not a `click.Command`.
        """
        what = f"its {COMMANDS} registers {word!r}"
        command = self.imported(what, self.commands[word])
        if not callable(getattr(command, "main", None)):  # without importing click
            raise self._wrong(f"{what} as {command!r}, which is no click.Command")
        return command

    def imported(self, what: str, value: Any) -> Any:
        """Returns a value, imported if it is given by an import path; raises a `PluginError` if the import fails."""
        if not isinstance(value, str):
            return value
        try:
            return _at(value)
        except (Exception, SystemExit) as error:  # foreign code
            hint = "write it as module:Class, and install what that module imports"
            raise self._wrong(f"{what} as {value!r}, which cannot be imported: {_reason(error)}", hint) from error

    def _wrong(self, what: str, hint: str = HINT) -> PluginError:
        return PluginError(what, where=f"the plugin {self.name!r} ({self.owner}), {self.module}", hint=hint)


@attrs.frozen(kw_only=True)
class Registry:
    """The components and commands of all installed plugins.

    Attributes:
        plugins: all plugins in the order of their names, including those that cannot be used.
    """

    plugins: tuple[Plugin, ...]

    @functools.cached_property
    def components(self) -> dict[str, tuple[Plugin, str, str]]:
        """The plugin, hook and short name of each component, by full name, such as ``speech/span``."""
        return {f"{one.name}/{short}": (one, hook, short) for one in self.plugins for hook, short in one.entries()}

    @functools.cached_property
    def _names(self) -> dict[Any, str]:
        """The full names of components, by their class or its import path."""
        return {one.components[hook][short]: name for name, (one, hook, short) in self.components.items()}

    def of_kind(self, contract: type[Kind], short: str = "") -> dict[str, type[Kind]]:
        """Returns the components that implement a contract, by full name.

        Args:
            contract: the contract, such as `didact.Teacher`.
            short: imports and returns only components of this short name; if empty, all that can be imported.

        Raises:
            PluginError: a component with the short name ``short`` cannot be imported.
        """
        found = {}
        for name, (plugin, hook, own) in self.components.items():
            try:
                cls = plugin.resolve(hook, own) if short in ("", own) else object
            except PluginError:
                if short:
                    raise
                continue
            if issubclass(cls, contract):
                found[name] = cls
        return found

    def name_of(self, cls: type[Spec]) -> str | None:
        """Returns a spec class's full name; None for a core class, which its place in an experiment identifies."""
        name = self._names.get(cls) or self._names.get(f"{cls.__module__}:{cls.__qualname__}")
        if name is None and not cls.__module__.startswith("didact."):  # perhaps registered by another import path
            return next((name for name, own in self.of_kind(Spec).items() if own is cls), None)
        return name

    def class_of(self, name: str) -> type[Spec]:
        """Returns the spec class of a full name.

        Raises:
            PluginError: the plugin is not installed, cannot be used, or has no such component.
        """
        if name in self.components:
            plugin, hook, short = self.components[name]
            return plugin.resolve(hook, short)
        owner, _, short = name.partition("/")
        found = next((plugin for plugin in self.plugins if plugin.name == owner), None)
        what = f"{name} comes from the plugin {owner!r}, which "
        if found is None:
            hint = f"install its distribution (first-party ones are called didact-{owner}); see `didact plugins`"
            raise PluginError(f"{what}is not installed", hint=hint)
        if found.skipped:
            what, hint = f"{what}{SKIP} leaves out", f"remove it from {SKIP}, which is {os.environ.get(SKIP, '')!r}"
        elif found.failure:
            what, hint = f"{what}cannot be used: {found.failure}", f"{found.hint}; `didact plugins` shows each state"
        else:
            what = f"the plugin {owner!r} ({found.owner}) has no {short!r}"
            hint = did_you_mean(short, [own for _, own in found.entries()])
        raise PluginError(what, where=f"{found.owner}, {found.module}", hint=hint)

    def data_of(self, value: Any) -> Any:
        """Converts an experiment, or any spec, to plain data."""
        return to_data(value, self.name_of)

    def from_data(self, data: Any, hint: Any) -> Any:
        """Builds the value of type ``hint`` that ``data`` describes.

        Raises:
            PluginError: a required plugin is missing.
            SpecError: a field is unknown, missing, or of the wrong type.
        """
        return from_data(data, hint, self.class_of)


@functools.cache
def registry() -> Registry:
    """Returns the installed plugins; discovery happens once per process."""
    return discover(importlib.metadata.entry_points(group=GROUP))


def discover(entry_points: Iterable[EntryPoint]) -> Registry:
    """Loads the plugins that ``entry_points`` name; a plugin that cannot be used is kept with the reason."""
    found = {}  # a dictionary, because an entry point may occur twice on the path
    for entry_point in entry_points:
        owner = entry_point.dist
        distribution, version = (owner.name, owner.version) if owner is not None else ("an unknown distribution", "?")
        found[entry_point.name, entry_point.value, distribution, version] = entry_point
    skipped = {canonicalize_name(name.strip()) for name in os.environ.get(SKIP, "").split(",") if name.strip()}
    plugins = []
    rivals: dict[str, list[tuple[Plugin, EntryPoint]]] = defaultdict(list)
    for (name, module, distribution, version), entry_point in sorted(found.items(), key=operator.itemgetter(0)):
        plugin = Plugin(name=name, distribution=distribution, version=version, module=module)
        if skipped & {canonicalize_name(name), canonicalize_name(distribution)}:
            plugins.append(attrs.evolve(plugin, skipped=True))
        else:
            rivals[name].append((plugin, entry_point))
    for name, claims in rivals.items():
        if len(claims) == 1:
            plugins.append(_load(*claims[0]))
            continue
        named = " and ".join(f"{plugin.owner} ({plugin.module})" for plugin, _ in claims)
        failure = f"{len(claims)} plugins are called {name!r}: {named}"  # none is used: the name is ambiguous
        hint = f"uninstall one of them, leave one out with {SKIP}=DISTRIBUTION, or rename its entry point"
        plugins += [attrs.evolve(plugin, failure=failure, hint=hint) for plugin, _ in claims]
    version, location = importlib.metadata.version("didact"), str(Path(__file__).parent)
    core = Plugin(name="didact", distribution="didact", version=version, module="didact", location=location)
    core = attrs.evolve(core, components={COMPONENTS: OWN}, commands=OWN_COMMANDS)
    return Registry(plugins=(core, *_without_contested_words(sorted(plugins, key=lambda plugin: plugin.name))))


def _load(plugin: Plugin, entry_point: EntryPoint) -> Plugin:
    try:
        if plugin.name == "didact" or "/" in plugin.name:
            hint = "rename its entry point: components are called PLUGIN/NAME, and didact/… are the core's own"
            raise PluginError(f"no plugin may be called {plugin.name!r}", hint=hint)
        _check_version(plugin, getattr(entry_point.dist, "requires", None) or ())
        module: ModuleType = entry_point.load()
        return _registered(attrs.evolve(plugin, location=getattr(module, "__file__", "") or ""), module)
    except PluginError as error:
        failure, hint = error.what, error.hint
    except (Exception, SystemExit) as error:  # foreign code: whatever it raises, the others must still load
        missing = isinstance(error, ModuleNotFoundError)
        failure, hint = _reason(error), f"install what it imports, or reinstall {plugin.distribution}" * missing
    hint = hint or f"report it to the authors of {plugin.distribution}, or uninstall that distribution"
    return attrs.evolve(plugin, failure=failure, hint=hint)


def _check_version(plugin: Plugin, requirements: Iterable[str]) -> None:
    """Raises a `PluginError` if the distribution's metadata require another didact, whatever the installer accepted."""
    here = importlib.metadata.version("didact")
    for wanted in map(Requirement, requirements):
        applies = wanted.marker is None or wanted.marker.evaluate()
        if canonicalize_name(wanted.name) == "didact" and applies and here not in wanted.specifier:
            made_for = f"it is made for didact {wanted.specifier}"
            hint = f"install a version of {plugin.distribution} that is made for didact {VERSION}, or {wanted}"
            raise PluginError(f"{made_for}, and this is didact {here}, whose hooks are version {VERSION}", hint=hint)


def _registered(plugin: Plugin, module: ModuleType) -> Plugin:
    """Returns the plugin with the components and commands that its module registers.

    Raises:
        PluginError: a hook is unknown, raises an error, or returns a value that its definition does not allow.
    """
    returned: dict[str, Any] = {}
    for name, function in inspect.getmembers(module):
        if hook := _hook(name, function):
            try:
                returned[hook] = function()
            except (Exception, SystemExit) as error:  # foreign code
                raise PluginError(f"its {hook} raised {_reason(error)}") from error
    examples, seen = returned.pop(EXAMPLES, None), dict[str, str]()
    for hook, mapping in returned.items():
        if not isinstance(mapping, Mapping):
            what = f"its {hook} returned {type(mapping).__name__}, not a mapping from name to class"
            raise PluginError(what, hint=HINT)
        for short in mapping:
            if not isinstance(short, str) or not short:
                raise PluginError(f"its {hook} registers something under {short!r}, which is no name")
            if hook != COMMANDS and seen.setdefault(short, hook) != hook:
                raise PluginError(f"it registers {short!r} twice, in {seen[short]} and in {hook}")
    commands = dict(returned.pop(COMMANDS, {}))
    plugin = attrs.evolve(plugin, components=returned, commands=commands, examples=examples)
    for hook, short in plugin.entries():
        if not isinstance(returned[hook][short], str):
            plugin.resolve(hook, short)
    for word, command in commands.items():
        if not isinstance(command, str):
            plugin.command(word)
    return plugin


def _hook(name: str, value: Any) -> str | None:
    """Returns the hook that a member of a plugin's module implements; None if the member is not a hook.

    Raises:
        PluginError: the member looks like a hook but is not one, or does not match the hook's definition.
    """
    options = getattr(value, "didact_impl", None)
    if options is None:
        if name.startswith("didact_") and inspect.isfunction(value):
            hint = "decorate it with @didact.hookimpl, or rename it"
            raise PluginError(f"{name} is not decorated with @hookimpl, so it would register nothing", hint=hint)
        return None
    hook: str = options["specname"] or name
    known = [name for name in vars(Registration) if name.startswith("didact_")]
    if hook not in known:
        what = f"it implements {hook}, which is no hook of version {VERSION}; {did_you_mean(hook, known)}"
        raise PluginError(what, hint=f"rename the function, or drop its @hookimpl; {HINT}")
    used = " and ".join(option for option, given in options.items() if option != "specname" and given)
    if used:
        hint = "write @hookimpl without options: the names of all plugins are taken, in no order"
        raise PluginError(f"{name} asks for {used}, which registration hooks do not have", hint=hint)
    try:
        inspect.signature(value).bind()
    except TypeError as error:
        raise PluginError(f"{name} does not fit its definition, which has no argument: {error}", hint=HINT) from error
    return hook


def _without_contested_words(plugins: Sequence[Plugin]) -> Iterator[Plugin]:
    """Yields the plugins without commands that several plugins register, or that are commands of the core."""
    holders: dict[str, list[str]] = defaultdict(list, {word: ["didact itself"] for word in OWN_COMMANDS})
    for plugin in plugins:
        for word in plugin.commands:
            holders[word].append(plugin.owner)
    for plugin in plugins:
        contested = [word for word in plugin.commands if len(holders[word]) > 1]
        if contested:
            named = "; ".join(f"{word!r} is registered by {' and '.join(holders[word])}" for word in contested)
            warning = f"the command {named}: none of them gets it until one gives it up, or is left out with {SKIP}"
            commands = {word: value for word, value in plugin.commands.items() if word not in contested}
            plugin = attrs.evolve(plugin, commands=commands, warning=warning)
        yield plugin


@functools.cache
def _at(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _reason(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    line = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    return f"{line}{type(error).__name__}: {error}"
