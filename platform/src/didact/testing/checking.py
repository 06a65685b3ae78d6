"""Installed plugins against the contract: what ``didact plugin check`` runs, and a plugin's own tests."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from didact.errors import PluginError, did_you_mean
from didact.plugins import KIND_NAMES, Plugin, Registry, registry
from didact.testing.distributions import RULES as OF_DISTRIBUTIONS
from didact.testing.distributions import Installed, is_example
from didact.testing.examples import Case, Example
from didact.testing.rules import Check, checks
from didact.testing.table import RULES


def contract(*names: str, among: Registry | None = None) -> list[Check]:
    """Everything that plugins must keep, one check for each rule and example; for ``pytest.mark.parametrize``::

        @pytest.mark.parametrize("check", contract("stripes"), ids=str)
        def test_stripes_keep_the_contract(check):
            check()

    Args:
        names: of plugins, of their distributions, or of single components (``stripes/masker``).
        among: the plugins to look among; the installed ones by default.

    Raises:
        PluginError: there is no such plugin or component.
    """
    found: list[Check] = []
    for name in names:
        plugin, short = find(name, among if among is not None else registry())
        found += _of_plugin(plugin, short)
    return found


def find(name: str, among: Registry) -> tuple[Plugin, str]:
    """The plugin that a plugin's, a distribution's or a component's name means, and the component's short name.

    Raises:
        PluginError: there is none; suggests one.
    """
    owner, _, short = name.partition("/")
    by_name = {plugin.name: plugin for plugin in among.plugins if plugin.name != "didact"}
    by_distribution = {p.distribution: p for p in by_name.values()} if not short else {}
    plugin = by_name.get(owner) or by_distribution.get(owner)
    if plugin is None:
        raise PluginError(f"there is no plugin {owner!r}", mend=did_you_mean(owner, [*by_name, *by_distribution]))
    shorts = [known for components in plugin.components.values() for known in components]
    if short and short not in shorts and not plugin.failure:
        raise PluginError(f"the plugin {owner!r} ({plugin.owner}) has no {short!r}", mend=did_you_mean(short, shorts))
    return plugin, short


def _of_plugin(plugin: Plugin, short: str) -> Iterator[Check]:
    installed = Installed(plugin=plugin, given={}, error="")
    if plugin.examples is not None and not plugin.failure:
        installed = _with_examples(installed)
    if not short:
        case = Case(Example(spec=installed), "plugin", plugin.name, plugin.owner)
        yield from checks(case, OF_DISTRIBUTIONS)
    for hook, components in plugin.components.items():
        for name, component in components.items():
            if short in ("", name):
                full = f"{plugin.name}/{name}"
                for number, example in enumerate(_examples(installed, hook, name, component)):
                    yield from checks(Case(example, KIND_NAMES[hook], full, plugin.owner, number), RULES)


def _with_examples(installed: Installed) -> Installed:
    folder = tempfile.mkdtemp(prefix=f"didact-{installed.plugin.name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    assert installed.plugin.examples is not None
    try:
        given = installed.plugin.examples(Path(folder))
    except Exception as error:  # foreign code
        return attrs.evolve(installed, error=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    if not isinstance(given, Mapping):
        return attrs.evolve(installed, error=f"didact_examples gave {type(given).__name__}, not a mapping from names")
    wrong = sorted(
        name
        for name, examples in given.items()
        if not isinstance(examples, Sequence) or not all(isinstance(example, Example) for example in examples)
    )
    if wrong:
        return attrs.evolve(installed, error=f"didact_examples gave {wrong[0]!r} something else than a list of Example")
    return attrs.evolve(installed, given=given)


def _examples(installed: Installed, hook: str, name: str, component: Any) -> Sequence[Example]:
    """The component's examples; where it has none, the instance of its defaults, if that can be made."""
    given = [example for example in installed.given.get(name, ()) if is_example(example, component)]
    if given:
        return given
    if hook == "didact_commands":
        return [Example(spec=component)]
    try:
        return [Example(spec=component())]
    except Exception:  # foreign code; the rule `examples` tells
        return []
