"""Describes a component: its fields, its source, the fields that accept it, and its uses."""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import json
import os
import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from didact.experiment import Experiment
from didact.plugins import Plugin, Registry
from didact.spec import Spec, field_documentation, field_types, type_words
from didact.training import Training
from didact_kit.contracts import components_of, kind_of


def describe(plugin: Plugin, short: str, folders: Sequence[Path], among: Registry) -> Iterator[str]:
    """Yields lines about a component, or about all components of a plugin.

    Args:
        plugin: the plugin that registers the component.
        short: the short name of the component; empty for all components.
        folders: the folders to search for experiments and runs that use the component.
        among: the registry whose specs may accept the component.
    """
    for name, component in components_of(plugin):
        if short in ("", name):
            kind = kind_of(component) or "component"
            full = name if kind == "command" else f"{plugin.name}/{name}"
            yield f"{full}  {kind} of {plugin.owner}"
            yield f"  in {_place(component)}"
            if isinstance(component, type) and issubclass(component, Spec):
                yield from _spec(component, full, folders, among)
            else:
                yield from _indented(inspect.getdoc(component) if isinstance(component, type) else component.help)
            yield ""


def _spec(cls: type[Spec], full: str, folders: Sequence[Path], among: Registry) -> Iterator[str]:
    package = cls.__module__.split(".")[0]
    yield f"  from {package} import {cls.__name__}"
    text = re.split(r"\n(?:Class attributes|Attributes):\n", inspect.cleandoc(cls.__doc__ or ""))[0]
    yield ""
    yield from _indented(text.strip())
    yield ""
    texts, hints = field_documentation(cls), field_types(cls)
    for field in attrs.fields(cls):
        default = "required" if field.default is attrs.NOTHING else f"= {_default(field)}"
        yield f"  {field.name}: {type_words(hints[field.name])}  {default}"
        yield f"      {texts.get(field.name, '')}"
    yield f"  stands in: {', '.join(_holders(cls, among)) or 'no field of another spec'}"
    used = [*_experiments(cls, folders), *_runs(full, folders)]
    yield f"  used in: {'' if used else 'nothing below ' + (', '.join(map(str, folders)) or 'this folder')}"
    yield from (f"    {place}" for place in used)


def _default(field: Any) -> str:
    value = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
    return repr(value)


def _holders(cls: type[Spec], among: Registry) -> Iterator[str]:
    """Yields the fields of an experiment and of other specs that accept this spec."""
    holders: tuple[type[Spec], ...] = (Experiment, Training, *among.of_kind(Spec).values())
    for holder in holders:
        for field, hint in field_types(holder).items():
            if any(isinstance(choice, type) and issubclass(cls, choice) for choice in _choices(hint)):
                yield f"{holder.__name__}.{field}"


def _choices(hint: Any) -> Iterator[Any]:
    """Yields the spec classes that a type accepts, at any depth."""
    if isinstance(hint, type) and issubclass(hint, Spec) and hint is not Spec:
        yield hint
    for argument in typing.get_args(hint):
        yield from _choices(argument)


def _experiments(cls: type, folders: Sequence[Path]) -> Iterator[str]:
    """Yields the places where Python files import the class from its package; the files are read, not executed."""
    package = cls.__module__.split(".")[0]
    for folder in folders:
        below = (Path(place) / name for place, _, names in os.walk(folder) for name in names if name.endswith(".py"))
        for path in sorted(below):
            try:
                tree = ast.parse(path.read_text())
            except (OSError, SyntaxError, ValueError):
                continue
            imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            ours = [node for node in imports if (node.module or "").split(".")[0] == package]
            line = next((n.lineno for n in ours if any(alias.name == cls.__name__ for alias in n.names)), None)
            if line is not None:
                calls = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == cls.__name__)
                yield f"{path}:{min((call.lineno for call in calls), default=line)}"


def _runs(full: str, folders: Sequence[Path]) -> Iterator[str]:
    """Yields the runs whose record names the component."""
    for place, below, files in itertools.chain.from_iterable(map(os.walk, folders)):
        below.sort()
        if "experiment.json" in files:
            below.clear()  # the run's own subfolders are not searched
            with contextlib.suppress(OSError, ValueError):  # another process may be writing the file
                if _names(json.loads((Path(place) / "experiment.json").read_text()), full):
                    yield f"the run {place}"


def _names(data: Any, full: str) -> bool:
    if isinstance(data, dict):
        return data.get("spec") == full or any(_names(value, full) for value in data.values())
    return isinstance(data, list) and any(_names(value, full) for value in data)


def _place(component: Any) -> str:
    definition = component if isinstance(component, type) else component.callback
    try:
        return f"{inspect.getsourcefile(definition)}:{inspect.getsourcelines(definition)[1]}"
    except (OSError, TypeError):
        return "an unknown file"


def _indented(text: str | None) -> Iterator[str]:
    yield from (f"  {line}".rstrip() for line in (text or "").splitlines())
