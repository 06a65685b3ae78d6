"""The checks of installed plugins, which ``didact plugin check`` and a plugin's own tests run."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from didact.plugins import Plugin, Registry, registry
from didact_kit.contracts import components_of, find, kind_of
from didact_kit.distributions import RULES as OF_DISTRIBUTIONS
from didact_kit.distributions import USABLE, Installed, default, is_example
from didact_kit.examples import Case, Example
from didact_kit.holders import HELD, find_holder
from didact_kit.rules import Check, checks, place_of
from didact_kit.table import RULES


def contract(*names: str, among: Registry | None = None) -> list[Check]:
    """Returns all checks of plugins, one for each rule and example, for ``pytest.mark.parametrize``::

        @pytest.mark.parametrize("check", contract("stripes"), ids=str)
        def test_stripes_keep_the_contract(check):
            check()

    Args:
        names: the names of plugins, of their distributions, or of components (``stripes/masker``).
        among: the registry of plugins to search; the installed plugins by default.

    Raises:
        PluginError: the plugin or component does not exist.
    """
    among = among if among is not None else registry()
    found: list[Check] = []
    for name in names:
        plugin, short = find(name, among)
        found += _of_plugin(plugin, short, among)
    return found


def _of_plugin(plugin: Plugin, short: str, among: Registry) -> Iterator[Check]:
    installed = _installed(plugin)
    found: list[Check] = []
    for name, component in installed.components:
        if short in ("", name):
            kind = kind_of(component) or "unknown"
            errors: dict[tuple[str, str], tuple[str, int]] = {}
            examples, note = _examples(installed, name, component)
            for number, example in enumerate(examples):
                case = Case(
                    example,
                    kind,
                    name=f"{plugin.name}/{name}",
                    distribution=plugin.owner,
                    number=number,
                    count=len(examples),
                    errors=errors,
                    note=note,
                )
                found += checks(case, RULES)
                if kind in HELD:
                    found += _inside(case, among)
    whole = Case(Example(spec=installed), "plugin", plugin.name, plugin.owner)
    # a component that cannot be checked is not skipped silently: the plugin's own rules give the reason
    yield from checks(whole, OF_DISTRIBUTIONS if not short else () if found else USABLE)
    yield from found


def _inside(case: Case, among: Registry) -> Iterator[Check]:
    """Yields the checks of a part inside a part that holds it: the rules of behaviour of that one's kind."""
    case.holding = holding = find_holder(case.example, among, lambda plugin: _installed(plugin).given)
    if holding.example is not None:
        inside = Case(
            holding.example,
            holding.kind,
            name=case.name,
            distribution=case.distribution,
            number=case.number,
            count=case.count,
            errors=case.errors,
            held=case.spec,
            note=case.note,
        )
        yield from checks(inside, tuple(rule for rule in RULES if "part" not in rule.kinds))


_FOUND: dict[int, tuple[Plugin, Installed]] = {}  # the examples of each plugin are made once


def _installed(plugin: Plugin) -> Installed:
    if id(plugin) not in _FOUND:
        _FOUND[id(plugin)] = plugin, _with_examples(plugin)
    return _FOUND[id(plugin)][1]


def _with_examples(plugin: Plugin) -> Installed:
    components = tuple(components_of(plugin))
    given: Any = {}
    error = ""
    if plugin.examples is not None and not plugin.failure:
        folder = tempfile.mkdtemp(prefix=f"didact-{plugin.name}-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        try:
            given = make_examples(plugin, Path(folder))
        except Exception as problem:  # foreign code
            error = f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]} ({place_of(problem)})"
        else:
            error = _misfit(given)
    return Installed(plugin=plugin, components=components, given={} if error else given, error=error)


def make_examples(plugin: Plugin, folder: Path) -> Mapping[str, Sequence[Any]]:
    """Returns a plugin's examples by short name; empty if it gives none.

    Raises:
        PluginError: the plugin's function cannot be imported.
    """
    if plugin.examples is None:
        return {}
    made: Mapping[str, Sequence[Any]] = plugin.imported("its didact_examples returned", plugin.examples)(folder)
    return made


def _misfit(given: Any) -> str:
    """Returns why a value is not a mapping of examples; empty if it is one."""
    if not isinstance(given, Mapping):
        return f"it gives {type(given).__name__}, not a mapping from names"
    for name, examples in given.items():
        if not isinstance(examples, Sequence) or not all(isinstance(example, Example) for example in examples):
            return f"it gives {name!r} something else than a list of Example"
    return ""


def _examples(installed: Installed, name: str, component: Any) -> tuple[Sequence[Example], str]:
    """Returns a component's examples; without any, an instance with its defaults, if that can be made, and a note."""
    if not isinstance(component, type):  # a command serves as its own example
        return [Example(spec=component)], ""
    if installed.error:  # the plugin's own examples failed, and defaults do not replace them
        return [], ""
    if name in installed.given:
        return [example for example in installed.given[name] if is_example(example, component)], ""
    try:
        return [Example(spec=default(component))], "its defaults: the plugin gives no example of it"
    except Exception:  # foreign code; reported by the rule `examples`
        return [], ""
