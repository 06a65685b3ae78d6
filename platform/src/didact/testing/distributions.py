"""What every plugin promises as a whole."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from didact.plugins import Plugin
from didact.testing.examples import Case, Example
from didact.testing.rules import NotJudged, Rule


@attrs.frozen(kw_only=True, eq=False)
class Installed:
    """A plugin under test.

    Attributes:
        plugin: as it was found.
        given: its examples, by short name.
        error: why it gave none, if that went wrong.
    """

    plugin: Plugin
    given: Mapping[str, Sequence[Example]]
    error: str


def check_loading(case: Case) -> None:
    """It can be used."""
    plugin: Plugin = case.spec.plugin
    assert not plugin.left_out, "DIDACT_SKIP leaves it out"
    assert not plugin.failure, f"{plugin.failure}; {plugin.mend}"
    assert not plugin.warning, plugin.warning


def check_examples(case: Case) -> None:
    """There is an example of each component, of its class, and of nothing else."""
    installed: Installed = case.spec
    if installed.plugin.failure or installed.plugin.left_out:
        raise NotJudged("it cannot be used")
    assert not installed.error, f"didact_examples: {installed.error}"
    registered = [named for of_hook in installed.plugin.components.values() for named in of_hook.items()]
    unknown = sorted(set(installed.given) - {short for short, _ in registered})
    assert not unknown, f"there are examples of {unknown}, which are not registered"
    for short, examples in installed.given.items():
        components = [component for name, component in registered if name == short]
        for example in examples:
            fits = any(is_example(example, component) for component in components)
            assert fits, f"an example of {short!r} is a {type(example.spec).__name__}"
    for short, component in registered:
        none = not any(is_example(example, component) for example in installed.given.get(short, ()))
        if none and isinstance(component, type):
            try:
                component()
            except Exception as error:  # foreign code
                text = str(error).splitlines()[0]
                raise AssertionError(f"there is no example of {short!r}, nor is it made of defaults: {text}") from error


def is_example(example: Example, component: object) -> bool:
    """Whether an example is one of a component: an instance of its class, or itself."""
    return isinstance(example.spec, component) if isinstance(component, type) else example.spec is component


def check_versions(case: Case) -> None:
    """Its distribution says which versions of didact it was made for."""
    plugin: Plugin = case.spec.plugin
    try:
        lines = importlib.metadata.requires(plugin.distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise NotJudged("it belongs to no distribution that is installed") from None
    if canonicalize_name(plugin.distribution) == "didact":
        raise NotJudged("it is didact's own")
    ours = [r for r in map(Requirement, lines) if canonicalize_name(r.name) == "didact"]
    assert ours, f"{plugin.distribution} does not require didact"
    bounded = any(bound.operator in ("<", "<=", "==", "~=", "===") for r in ours for bound in r.specifier)
    assert bounded, f"{plugin.distribution} requires {ours[0]}, which has no upper bound"


def check_typing(case: Case) -> None:
    """Its package is typed, so that editors complete and check the fields of its specs."""
    plugin: Plugin = case.spec.plugin
    if plugin.failure or plugin.left_out:
        raise NotJudged("it cannot be used")
    file = Path(plugin.location)
    depth = plugin.module.count(".") + (file.name == "__init__.py")
    if not depth:
        raise NotJudged("it is a single file, which needs no py.typed")
    package = file.parents[depth - 1]
    assert (package / "py.typed").exists(), f"there is no py.typed in {package}"


RULES: tuple[Rule, ...] = (
    Rule(
        name="loading",
        kinds=("plugin",),
        promise="a plugin imports, fits this didact, and registers what the hooks say",
        mend="see what `didact plugins` says of it; the hooks are in didact.hookspecs",
        look=check_loading,
    ),
    Rule(
        name="examples",
        kinds=("plugin",),
        promise="there is an example of everything that a plugin registers",
        mend="give one in the hook didact_examples(folder): {short name: [didact.testing.Example(spec=…)]}",
        look=check_examples,
    ),
    Rule(
        name="versions",
        kinds=("plugin",),
        promise="a distribution says which versions of didact it was made for",
        mend='write "didact>=0.1,<0.2" among the dependencies: hooks may change with the second number',
        look=check_versions,
    ),
    Rule(
        name="typing",
        kinds=("plugin",),
        promise="a package is typed, so that editors complete and check experiments",
        mend="put an empty file py.typed beside __init__.py, and annotate fields",
        look=check_typing,
    ),
)
