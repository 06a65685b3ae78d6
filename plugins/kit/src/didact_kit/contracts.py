"""The kinds of components, and finding a component by name. The contract of its class gives its kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from didact.contracts.data import Source
from didact.contracts.network import Backbone, FeatureEncoder, Masker
from didact.contracts.optimizer import Optimizer
from didact.contracts.targets import Objective, TargetBuilder, Teacher
from didact.errors import PluginError, did_you_mean
from didact.experiment import Evaluation, Observer
from didact.plugins import Plugin, Registry
from didact.schedules import Schedule
from didact.spec import Spec

OF_PLUGINS = {  # compared by import path, so that the kit works without those plugins
    "didact_ablate.design:Study": "study",
    "didact_ablate.finding:RunFinder": "run-finder",
    "didact_stores.media:Medium": "medium",
    "didact_vision.augmentation:Augmentation": "augmentation",
}
KINDS: dict[str, type] = {  # kind → contract, in the order of the documentation
    "feature-encoder": FeatureEncoder,
    "masker": Masker,
    "backbone": Backbone,
    "target-builder": TargetBuilder,
    "objective": Objective,
    "teacher": Teacher,
    "source": Source,
    "evaluation": Evaluation,
    "observer": Observer,
    "schedule": Schedule,
    "optimizer": Optimizer,
    "part": Spec,  # last: a spec of no other kind, used in a field of another spec
}


def kind_of(component: Any) -> str | None:
    """Returns the kind of a registered component.

    Args:
        component: a class, or a command.

    Returns:
        A key of `KINDS`, a value of `OF_PLUGINS` or ``command``; None for a class that implements no contract.
    """
    if isinstance(component, click.Command):
        return "command"
    if not isinstance(component, type):
        return None
    places = [f"{base.__module__}:{base.__qualname__}" for base in component.__mro__]
    own = next((OF_PLUGINS[place] for place in places if place in OF_PLUGINS), None)
    return own or next((kind for kind, contract in KINDS.items() if issubclass(component, contract)), None)


def components_of(plugin: Plugin) -> Iterator[tuple[str, Any]]:
    """Yields the classes and commands of a plugin with their short names; those that cannot be used are skipped."""
    for hook, short in plugin.entries():
        try:
            yield short, plugin.resolve(hook, short)
        except PluginError:
            continue  # reported by the rule `loading`
    for word in plugin.commands:
        try:
            yield word, plugin.command(word)
        except PluginError:
            continue


def find(name: str, among: Registry) -> tuple[Plugin, str]:
    """Finds a plugin by its own, its distribution's or a component's name; also returns the component's short name.

    Raises:
        PluginError: nothing has this name; the error suggests a similar name.
    """
    owner, _, short = name.partition("/")
    by_name = {plugin.name: plugin for plugin in among.plugins}
    by_distribution = {p.distribution: p for p in by_name.values()} if not short else {}
    plugin = by_name.get(owner) or by_distribution.get(owner)
    if plugin is None:
        raise PluginError(f"there is no plugin {owner!r}", hint=did_you_mean(owner, [*by_name, *by_distribution]))
    shorts = [*(known for _, known in plugin.entries()), *plugin.commands]
    if short and short not in shorts and not plugin.failure:
        raise PluginError(f"the plugin {owner!r} ({plugin.owner}) has no {short!r}", hint=did_you_mean(short, shorts))
    return plugin, short
