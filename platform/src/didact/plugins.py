"""Finding plugins, and saying exactly what is wrong with those that cannot be used.

Instead of pluggy's own entry-point loader, which skips a duplicate name without a word and lets one broken plugin take
down its host: here a plugin that does not import is kept apart with its reason while the others load; two plugins of
one name, a hook that no spec knows and a registration of the wrong type are errors that name the distribution.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import traceback
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import attrs
import pluggy

from didact import contracts
from didact.errors import PluginError, did_you_mean
from didact.hookspecs import Lifecycle, Registration
from didact.spec import Spec

GROUP = "didact"

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


WORDS = (
    "didact_media",
    "didact_commands",
    "didact_run_finders",
)  # what they register is a word of the command line, not PLUGIN/NAME


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
        failure: why it cannot be used; empty where it can.
    """

    name: str
    distribution: str
    version: str
    module: str
    location: str = ""
    components: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    failure: str = ""


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
        if plugin.failure:
            raise PluginError(
                f"{name} comes from the plugin {owner!r}, which cannot be used: {plugin.failure}",
                where=f"{plugin.distribution} {plugin.version}, {plugin.module}",
                mend="mend or reinstall that distribution; `didact plugins` shows the state of each",
            )
        shorts = [short for components in plugin.components.values() for short in components]
        raise PluginError(
            f"the plugin {owner!r} ({plugin.distribution} {plugin.version}) has no {short!r}",
            mend=did_you_mean(short, shorts),
        )


@functools.cache
def registry() -> Registry:
    """The installed plugins, discovered once.

    Raises:
        PluginError: two plugins claim one name.
    """
    return discover(importlib.metadata.entry_points(group=GROUP))


def discover(entry_points: Iterable[importlib.metadata.EntryPoint]) -> Registry:
    """Loads the plugins that ``entry_points`` name.

    Raises:
        PluginError: two of them claim one name; names both distributions.
    """
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry_point in sorted(entry_points, key=lambda entry_point: (entry_point.name, entry_point.value)):
        if entry_point.name == "didact" or "/" in entry_point.name:
            raise PluginError(
                f"no plugin may be called {entry_point.name!r}",
                where=f"{' '.join(_owner(entry_point))} ({entry_point.value})",
                mend="rename its entry point: components are called PLUGIN/NAME, and didact/… are the core's own",
            )
        other = found.setdefault(entry_point.name, entry_point)
        if other is not entry_point and (other.value != entry_point.value or _owner(other) != _owner(entry_point)):
            raise PluginError(
                f"two plugins are called {entry_point.name!r}",
                where=f"{' '.join(_owner(other))} ({other.value}) and {' '.join(_owner(entry_point))} "
                f"({entry_point.value})",
                mend="uninstall one of the two, or rename its entry point",
            )
    core = Plugin(
        name="didact",
        distribution="didact",
        version=importlib.metadata.version("didact"),
        module="didact",
        location=str(importlib.metadata.distribution("didact").locate_file("")),
        components=_core_components(),
    )
    claimed: dict[tuple[str, str], Plugin] = {}  # media and commands are words of the command line, without a prefix
    plugins = [core]
    for entry_point in found.values():
        plugin = _load(entry_point)
        for hook in WORDS:
            for short in plugin.components.get(hook, {}):
                other_plugin = claimed.setdefault((hook, short), plugin)
                if other_plugin is not plugin:
                    raise PluginError(
                        f"two plugins register {short!r} in {hook}",
                        where=f"{other_plugin.distribution} and {plugin.distribution}",
                        mend="uninstall one of the two",
                    )
        plugins.append(plugin)
    return Registry(plugins=tuple(plugins))


def lifecycle_manager() -> pluggy.PluginManager:
    """An empty plugin manager for one run's observers."""
    manager = pluggy.PluginManager("didact")
    manager.add_hookspecs(Lifecycle)
    return manager


def _load(entry_point: importlib.metadata.EntryPoint) -> Plugin:
    distribution, version = _owner(entry_point)
    plugin = Plugin(name=entry_point.name, distribution=distribution, version=version, module=entry_point.value)
    try:
        module = entry_point.load()
    except Exception as error:  # foreign code: whatever it raises, the others must still load
        return attrs.evolve(plugin, failure=f"{_place(error)}{type(error).__name__}: {error}")
    plugin = attrs.evolve(plugin, location=getattr(module, "__file__", "") or "")
    try:
        return attrs.evolve(plugin, components=_components(plugin, module))
    except PluginError as error:
        return attrs.evolve(plugin, failure=error.what)


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
            raise PluginError(f"it implements {name}, which is no hook; {did_you_mean(name, known)}")
    try:
        manager.register(module, name=plugin.name)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"one of its hooks does not fit its definition: {error}") from error
    components: dict[str, dict[str, Any]] = {}
    seen: dict[str, str] = {}
    for hook in sorted(known):
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            try:
                registered = implementation.function()
            except Exception as error:  # foreign code
                raise PluginError(f"its {hook} raised {_place(error)}{type(error).__name__}: {error}") from error
            if not isinstance(registered, Mapping):
                raise PluginError(f"its {hook} returned {type(registered).__name__}, not a mapping from name to class")
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
    if wanted is None:  # commands are instances, checked by the command line; finders are functions
        return
    if not (isinstance(cls, type) and issubclass(cls, wanted)):
        raise PluginError(f"its {hook} registers {short!r} as {cls!r}, which is no {wanted.__name__} class")
    if issubclass(cls, Spec) and "__attrs_attrs__" not in vars(cls):  # its own, not a base's
        raise PluginError(f"its {short!r} ({cls.__name__}) is not decorated with @attrs.frozen(kw_only=True)")
    missing: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    if missing:
        raise PluginError(f"its {short!r} ({cls.__name__}) lacks {', '.join(sorted(missing))}")


def _core_components() -> dict[str, dict[str, Any]]:
    from didact.schedules import Constant, Cosine, TriStage  # here: specs import nothing of this module

    return {"didact_parts": {"constant": Constant, "cosine": Cosine, "tri-stage": TriStage}}


def _owner(entry_point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    distribution = entry_point.dist
    return (distribution.name, distribution.version) if distribution is not None else ("an unknown distribution", "?")


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
