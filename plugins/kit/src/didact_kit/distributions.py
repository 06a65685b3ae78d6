"""The rules that every plugin must follow as a whole."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from didact.contracts.optimizer import Optimizer
from didact.plugins import Plugin
from didact_kit.contracts import kind_of
from didact_kit.examples import Case, Example
from didact_kit.rules import NotJudged, Rule


@attrs.frozen(kw_only=True, eq=False)
class Installed:
    """An installed plugin that is checked.

    Attributes:
        plugin: the plugin as it was found.
        components: the classes and commands that can be used, with their short names.
        given: the plugin's examples, by short name.
        error: why the examples could not be made, if that failed.
    """

    plugin: Plugin
    components: tuple[tuple[str, Any], ...]
    given: Mapping[str, Sequence[Example]]
    error: str


def check_loading(case: Case) -> None:
    """Checks that the plugin can be used, and everything that it registers."""
    plugin: Plugin = case.spec.plugin
    assert not plugin.skipped, "DIDACT_SKIP leaves it out"
    assert not plugin.failure, f"{plugin.failure}; {plugin.hint}"
    assert not plugin.warning, plugin.warning
    for hook, short in plugin.entries():
        component = plugin.resolve(hook, short)
        assert kind_of(component) is not None, (
            f"{hook} registers {short!r} as {component.__name__}, which implements no contract"
        )
    for word in plugin.commands:
        assert kind_of(plugin.command(word)) == "command", f"the command {word!r} is not a click.Command"


def default(component: Any) -> Any:
    """Returns an instance with its defaults; of an optimizer, whose learning rate has none, with one."""
    return component(learning_rate=0.01) if issubclass(component, Optimizer) else component()


def check_examples(case: Case) -> None:
    """Checks that each component has an example of its class, and that no other example exists."""
    installed: Installed = case.spec
    if installed.plugin.failure or installed.plugin.skipped:
        raise NotJudged("the plugin cannot be used")
    assert not installed.error, f"didact_examples: {installed.error}"
    unknown = sorted(set(installed.given) - {short for short, _ in installed.components})
    assert not unknown, f"there are examples of {unknown}, which are not registered"
    for short, examples in installed.given.items():
        components = [component for name, component in installed.components if name == short]
        for example in examples:
            fits = any(is_example(example, component) for component in components)
            assert fits, f"an example of {short!r} is a {type(example.spec).__name__}"
    for short, component in installed.components:
        none = not any(is_example(example, component) for example in installed.given.get(short, ()))
        if none and isinstance(component, type):
            try:
                default(component)
            except Exception as error:  # foreign code
                text = str(error).splitlines()[0]
                raise AssertionError(
                    f"there is no example of {short!r}, and its defaults do not make one: {text}"
                ) from error


def is_example(example: Example, component: object) -> bool:
    """Whether an example is an example of a component: an instance of its class, or the component itself."""
    return isinstance(example.spec, component) if isinstance(component, type) else example.spec is component


def check_versions(case: Case) -> None:
    """Checks that the plugin's distribution requires the versions of didact for which it was made."""
    plugin: Plugin = case.spec.plugin
    if plugin.distribution == "didact":
        raise NotJudged("it is didact itself")
    try:
        lines = importlib.metadata.requires(plugin.distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise NotJudged("it belongs to no installed distribution") from None
    ours = [r for r in map(Requirement, lines) if canonicalize_name(r.name) == "didact"]
    assert ours, f"{plugin.distribution} does not require didact"
    bounded = any(bound.operator in ("<", "<=", "==", "~=", "===") for r in ours for bound in r.specifier)
    assert bounded, f"{plugin.distribution} requires {ours[0]}, which has no upper bound"


def check_typing(case: Case) -> None:
    """Checks that the plugin's package is typed, so that editors complete and check the fields of its specs."""
    plugin: Plugin = case.spec.plugin
    if plugin.failure or plugin.skipped:
        raise NotJudged("the plugin cannot be used")
    file = Path(plugin.location)
    depth = plugin.module.count(".") + (file.name == "__init__.py")
    if not depth:
        raise NotJudged("it is a single file, which needs no py.typed")
    package = file.parents[depth - 1]
    assert (package / "py.typed").exists(), f"py.typed is missing in {package}"


USABLE: tuple[Rule, ...] = (  # rules that must hold before any component can be checked
    Rule(
        name="loading",
        kinds=("plugin",),
        promise="a plugin imports, fits this didact, and registers what the hooks define",
        hint="`didact plugins` shows its state; the hooks are in didact.hookspecs",
        look=check_loading,
    ),
    Rule(
        name="examples",
        kinds=("plugin",),
        promise="there is an example of everything that a plugin registers",
        hint="name a function in the hook didact_examples that returns {short name: [didact_kit.Example(spec=…)]}",
        look=check_examples,
    ),
)
RULES: tuple[Rule, ...] = (
    *USABLE,
    Rule(
        name="versions",
        kinds=("plugin",),
        promise="a distribution requires the versions of didact for which it was made",
        hint='write "didact>=0.1,<0.2" among the dependencies: hooks may change with the second number',
        look=check_versions,
    ),
    Rule(
        name="typing",
        kinds=("plugin",),
        promise="a package is typed, so that editors complete and check experiments",
        hint="put an empty file py.typed beside __init__.py, and annotate fields",
        look=check_typing,
    ),
)
