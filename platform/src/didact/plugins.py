"""Finding plugins, and saying exactly what is wrong with those that cannot be used.

Instead of pluggy's own entry-point loader, which skips a duplicate name without a word and lets one broken plugin take
down its host: here a plugin that cannot be used is kept apart with its reason, its distribution and its version, while
the others load. Reasons are: it was made for another version of the hooks, it does not import, its name is another's
too, it implements a hook that does not exist, or it registers something of the wrong type.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import os
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from didact import commands, contracts
from didact.errors import PluginError, did_you_mean
from didact.hookspecs import VERSION, Lifecycle, Registration
from didact.spec import Spec

GROUP = "didact"
SKIP = "DIDACT_SKIP"  # names of plugins or distributions, with commas between them, that are left out

KINDS: dict[str, type] = {
    "didact_feature_encoders": contracts.FeatureEncoder,
    "didact_maskers": contracts.Masker,
    "didact_backbones": contracts.Backbone,
    "didact_target_builders": contracts.TargetBuilder,
    "didact_objectives": contracts.Objective,
    "didact_teachers": contracts.Teacher,
    "didact_sources": contracts.Source,
    "didact_evaluations": contracts.Evaluation,
    "didact_observers": contracts.Observer,
    "didact_studies": contracts.Study,
    "didact_parts": Spec,
    "didact_media": contracts.Medium,
}

KIND_NAMES: dict[str, str] = {  # of hooks, as the command line and the rules of the contract say it
    "didact_feature_encoders": "feature-encoder",
    "didact_maskers": "masker",
    "didact_backbones": "backbone",
    "didact_target_builders": "target-builder",
    "didact_objectives": "objective",
    "didact_teachers": "teacher",
    "didact_sources": "source",
    "didact_evaluations": "evaluation",
    "didact_observers": "observer",
    "didact_parts": "part",
    "didact_media": "medium",
    "didact_commands": "command",
    "didact_run_finders": "run-finder",
    "didact_studies": "study",
}

# what they register is a word of the command line, not PLUGIN/NAME
WORDS = ("didact_media", "didact_commands", "didact_run_finders")
EXAMPLES = "didact_examples"  # called when somebody checks the plugin, and never else

MEND_HOOKS = "the hooks, their arguments and what they return are in didact.hookspecs"


@attrs.frozen(kw_only=True)
class Plugin:
    """One entry point of the group ``didact``.

    Attributes:
        name: of the entry point.
        distribution: that brings it.
        version: of the distribution.
        module: that it names.
        location: of that module's file; empty where it did not import.
        components: ``hook → short name → class``.
        examples: its ``didact_examples``, where it has that hook.
        failure: why it cannot be used; empty where it can.
        mend: what to do about that.
        left_out: whether it was, by ``DIDACT_SKIP``; nothing of it was imported.
        warning: what is wrong with it although it can be used.
    """

    name: str
    distribution: str
    version: str
    module: str
    location: str = ""
    components: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    examples: Callable[[Path], Mapping[str, Sequence[Any]]] | None = None
    failure: str = ""
    mend: str = ""
    left_out: bool = False
    warning: str = ""

    @property
    def owner(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.version}"


@attrs.frozen(kw_only=True)
class Registry:
    """Everything that the installed plugins add.

    Attributes:
        plugins: all of them by name, in order, those that cannot be used included.
    """

    plugins: tuple[Plugin, ...]

    @functools.cached_property
    def specs(self) -> dict[str, type[Spec]]:
        """Every spec class by its full name, such as ``speech/span``."""
        return {
            f"{plugin.name}/{short}": cls
            for plugin in self.plugins
            for hook, components in plugin.components.items()
            if hook not in WORDS
            for short, cls in components.items()
        }

    @functools.cached_property
    def _names(self) -> dict[type[Spec], str]:
        return {cls: name for name, cls in self.specs.items()}

    def of_kind(self, hook: str) -> dict[str, Any]:
        """What the plugins register under one hook, by short name for media and commands, by full name for specs."""
        full = hook not in WORDS
        return {
            f"{plugin.name}/{short}" if full else short: cls
            for plugin in self.plugins
            for short, cls in plugin.components.get(hook, {}).items()
        }

    def name_of(self, cls: type[Spec]) -> str | None:
        """A spec class's full name; None for those of the core, whose place in an experiment says what they are."""
        return self._names.get(cls)

    def plugin_of(self, cls: type) -> Plugin | None:
        """The plugin that registers a class; None where none does."""
        for plugin in self.plugins:
            for components in plugin.components.values():
                if cls in components.values():
                    return plugin
        return None

    def class_of(self, name: str) -> type[Spec]:
        """The spec class of a full name.

        Raises:
            PluginError: the plugin is not installed, does not import, or has no such component.
        """
        if name in self.specs:
            return self.specs[name]
        owner, _, short = name.partition("/")
        plugin = next((plugin for plugin in self.plugins if plugin.name == owner), None)
        if plugin is None:
            raise PluginError(
                f"{name} comes from the plugin {owner!r}, which is not installed",
                mend=f"install its distribution (first-party ones are called didact-{owner}); see `didact plugins`",
            )
        if plugin.left_out:
            raise PluginError(
                f"{name} comes from the plugin {owner!r}, which {SKIP} leaves out",
                where=f"{plugin.owner}, {plugin.module}",
                mend=f"take it out of {SKIP}, which is {os.environ.get(SKIP, '')!r}",
            )
        if plugin.failure:
            raise PluginError(
                f"{name} comes from the plugin {owner!r}, which cannot be used: {plugin.failure}",
                where=f"{plugin.owner}, {plugin.module}",
                mend=f"{plugin.mend}; `didact plugins` shows the state of each",
            )
        shorts = [short for components in plugin.components.values() for short in components]
        raise PluginError(
            f"the plugin {owner!r} ({plugin.distribution} {plugin.version}) has no {short!r}",
            mend=did_you_mean(short, shorts),
        )


@functools.cache
def registry() -> Registry:
    """The installed plugins, discovered once."""
    return discover(importlib.metadata.entry_points(group=GROUP))


def discover(entry_points: Iterable[importlib.metadata.EntryPoint]) -> Registry:
    """Loads the plugins that ``entry_points`` name; one that cannot be used is kept apart with the reason."""
    claimed: dict[str, list[importlib.metadata.EntryPoint]] = defaultdict(list)
    for entry_point in sorted(entry_points, key=lambda entry_point: (entry_point.name, entry_point.value)):
        rivals = claimed[entry_point.name]
        if not any(other.value == entry_point.value and _owner(other) == _owner(entry_point) for other in rivals):
            rivals.append(entry_point)  # the same one may be found twice on the path
    core = Plugin(
        name="didact",
        distribution="didact",
        version=importlib.metadata.version("didact"),
        module="didact",
        location=str(importlib.metadata.distribution("didact").locate_file("")),
        components=_core_components(),
    )
    plugins = [core]
    for rivals in claimed.values():
        left = [entry_point for entry_point in rivals if not _left_out(entry_point)]
        plugins += [attrs.evolve(_described(e), left_out=True) for e in rivals if _left_out(e)]
        plugins += [_load(left[0])] if len(left) == 1 else [_contested(entry_point, left) for entry_point in left]
    return Registry(plugins=_without_contested_words(plugins))


def lifecycle_manager() -> pluggy.PluginManager:
    """An empty plugin manager for one run's observers."""
    manager = pluggy.PluginManager("didact")
    manager.add_hookspecs(Lifecycle)
    return manager


def _left_out(entry_point: importlib.metadata.EntryPoint) -> bool:
    names = {canonicalize_name(name.strip()) for name in os.environ.get(SKIP, "").split(",") if name.strip()}
    return bool(names & {canonicalize_name(entry_point.name), canonicalize_name(_owner(entry_point)[0])})


def _described(entry_point: importlib.metadata.EntryPoint) -> Plugin:
    distribution, version = _owner(entry_point)
    return Plugin(name=entry_point.name, distribution=distribution, version=version, module=entry_point.value)


def _contested(entry_point: importlib.metadata.EntryPoint, rivals: Sequence[importlib.metadata.EntryPoint]) -> Plugin:
    """A plugin whose name is another's too: neither is used, for nobody could say which one was meant."""
    named = " and ".join(f"{' '.join(_owner(rival))} ({rival.value})" for rival in rivals)
    return attrs.evolve(
        _described(entry_point),
        failure=f"{len(rivals)} plugins are called {entry_point.name!r}: {named}",
        mend=f"uninstall one of them, leave one out with {SKIP}=DISTRIBUTION, or rename its entry point",
    )


def _load(entry_point: importlib.metadata.EntryPoint) -> Plugin:
    plugin = _described(entry_point)
    try:
        _check_name(plugin)
        _check_version(plugin, entry_point)
        module = _import(plugin, entry_point)
        plugin = attrs.evolve(plugin, location=getattr(module, "__file__", "") or "")
        return attrs.evolve(plugin, components=_components(plugin, module), examples=getattr(module, EXAMPLES, None))
    except PluginError as error:
        mend = error.mend or f"report it to the authors of {plugin.distribution}, or uninstall that distribution"
        return attrs.evolve(plugin, failure=error.what, mend=mend)


def _import(plugin: Plugin, entry_point: importlib.metadata.EntryPoint) -> ModuleType:
    try:
        module: ModuleType = entry_point.load()
    except (Exception, SystemExit) as error:  # foreign code: whatever it raises, the others must still load
        mend = ""
        if isinstance(error, ModuleNotFoundError):
            mend = f"install what it imports, or reinstall {plugin.distribution}"
        raise PluginError(f"{_place(error)}{type(error).__name__}: {error}", mend=mend) from error
    return module


def _check_name(plugin: Plugin) -> None:
    if plugin.name == "didact" or "/" in plugin.name:
        raise PluginError(
            f"no plugin may be called {plugin.name!r}",
            mend="rename its entry point: components are called PLUGIN/NAME, and didact/… are the core's own",
        )


def _check_version(plugin: Plugin, entry_point: importlib.metadata.EntryPoint) -> None:
    """Raises where the distribution's own metadata say that it was made for another didact."""
    here = importlib.metadata.version("didact")
    for line in getattr(entry_point.dist, "requires", None) or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if canonicalize_name(requirement.name) != "didact" or not applies:
            continue
        if not requirement.specifier.contains(here, prereleases=True):
            fits = str(requirement.specifier)
            raise PluginError(
                f"it is made for didact {fits}, and this is didact {here}, whose hooks are version {VERSION}",
                mend=f"install a version of {plugin.distribution} that is made for didact {VERSION}, or didact{fits}",
            )


def _without_contested_words(plugins: Sequence[Plugin]) -> tuple[Plugin, ...]:
    """The plugins, without words of the command line that several register or the core has: nobody gets those."""
    holders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in (*commands.CORE, *commands.ALIASES):
        holders["didact_commands", name].append("didact itself")
    for plugin in plugins:
        for hook in WORDS:
            for word in plugin.components.get(hook, {}):
                holders[hook, word].append(plugin.owner)
    kept = []
    for plugin in plugins:
        contested = [(hook, word) for hook in WORDS for word in plugin.components.get(hook, {})]
        contested = [claim for claim in contested if len(holders[claim]) > 1]
        if contested:
            told = "; ".join(
                f"{word!r} in {hook} is registered by {' and '.join(holders[hook, word])}" for hook, word in contested
            )
            components = {
                hook: {word: value for word, value in of_hook.items() if (hook, word) not in contested}
                for hook, of_hook in plugin.components.items()
            }
            plugin = attrs.evolve(
                plugin,
                components=components,
                warning=f"{told}: it is nobody's until one of them gives it up, or is left out with {SKIP}",
            )
        kept.append(plugin)
    return tuple(kept)


def _components(plugin: Plugin, module: ModuleType) -> dict[str, dict[str, Any]]:
    """What a plugin's module registers, checked.

    Raises:
        PluginError: an unknown hook, one that raises, or one that returns something else than it promises.
    """
    manager = pluggy.PluginManager("didact")
    manager.add_hookspecs(Registration)
    known = {name for name, _ in inspect.getmembers(Registration, inspect.isfunction)}
    for name, value in inspect.getmembers(module):
        if hasattr(value, "didact_impl") and name not in known:
            raise PluginError(
                f"it implements {name}, which is no hook of version {VERSION}; {did_you_mean(name, known)}",
                mend=f"rename the function, or drop its @hookimpl; {MEND_HOOKS}",
            )
    try:
        manager.register(module, name=plugin.name)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"one of its hooks does not fit its definition: {error}", mend=MEND_HOOKS) from error
    components: dict[str, dict[str, Any]] = {}
    seen: dict[str, str] = {}
    for hook in sorted(known - {EXAMPLES}):
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            try:
                registered = implementation.function()
            except (Exception, SystemExit) as error:  # foreign code
                raise PluginError(f"its {hook} raised {_place(error)}{type(error).__name__}: {error}") from error
            if not isinstance(registered, Mapping):
                raise PluginError(
                    f"its {hook} returned {type(registered).__name__}, not a mapping from name to class",
                    mend=MEND_HOOKS,
                )
            for short, cls in registered.items():
                _check_component(hook, short, cls)
                if hook not in WORDS and seen.setdefault(short, hook) != hook:
                    raise PluginError(f"it registers {short!r} twice, in {seen[short]} and in {hook}")
            components[hook] = dict(registered)
    return components


def _check_component(hook: str, short: Any, cls: Any) -> None:
    if not isinstance(short, str) or not short:
        raise PluginError(f"its {hook} registers something under {short!r}, which is no name")
    wanted = KINDS.get(hook)
    if hook == "didact_run_finders":
        if not callable(cls):
            raise PluginError(f"its {hook} registers {short!r} as {cls!r}, which cannot be called", mend=MEND_HOOKS)
        return
    if wanted is None:
        import click  # here: nothing else of this module needs it

        if not isinstance(cls, click.Command):
            raise PluginError(f"its {hook} registers {short!r} as {cls!r}, which is no click.Command", mend=MEND_HOOKS)
        return
    if not (isinstance(cls, type) and issubclass(cls, wanted)):
        raise PluginError(f"its {hook} registers {short!r} as {cls!r}, which is no {wanted.__name__} class")
    if issubclass(cls, Spec) and "__attrs_attrs__" not in vars(cls):  # its own, not a base's
        raise PluginError(f"its {short!r} ({cls.__name__}) is not decorated with @attrs.frozen(kw_only=True)")
    missing: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    if missing:
        lacking = ", ".join(sorted(missing))
        raise PluginError(
            f"its {short!r} ({cls.__name__}) lacks {lacking}", mend=f"define {lacking}, as didact.contracts say"
        )


def _core_components() -> dict[str, dict[str, Any]]:
    from didact.schedules import Constant, Cosine, TriStage  # here: specs import nothing of this module

    return {"didact_parts": {"constant": Constant, "cosine": Cosine, "tri-stage": TriStage}}


def _owner(entry_point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    distribution = entry_point.dist
    return (distribution.name, distribution.version) if distribution is not None else ("an unknown distribution", "?")


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
