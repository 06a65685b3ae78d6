"""Changing a spec: dotted fields, and the texts that a command line gives for their values."""

from __future__ import annotations

import ast
import json
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from didact.errors import SpecError, did_you_mean, inside
from didact.spec.base import Spec, field_documentation, field_types, type_words
from didact.spec.data import from_data

SpecT = typing.TypeVar("SpecT", bound=Spec)

_Changes = list[tuple[list[str], Any]]  # what is left of each path, and the value at its end
_ClassOf = Callable[[str], type[Spec]] | None


def evolve(spec: SpecT, changes: Mapping[str, Any], class_of: _ClassOf = None) -> SpecT:
    """A copy of ``spec`` with dotted fields changed, all at once: only the result must be valid.

    Dots lead into specs, into mappings by key, and into tuples by number. Values that are strings are read as their
    field's type, so this serves ``--set targets.k=4`` as well.

    Args:
        spec: what to copy.
        changes: ``dotted field → value``.
        class_of: finds a spec class by its registered name, for strings that describe a spec in JSON.

    Raises:
        SpecError: no such field (with a suggestion), or a value that does not fit it.
    """
    return _evolve(spec, [(path.split("."), value) for path, value in changes.items()], "", class_of)


def _evolve(spec: SpecT, changes: _Changes, where: str, class_of: _ClassOf) -> SpecT:
    cls, hints = type(spec), field_types(type(spec))
    values = {}
    for name, inner in _by_first(changes).items():
        place = inside(where, name)
        if name not in hints:
            raise SpecError(f"{cls.__name__} has no field {name!r}", where=place, mend=did_you_mean(name, hints))
        values[name] = _change(
            getattr(spec, name), inner, hints[name], place, class_of, field_documentation(cls).get(name, "")
        )
    try:
        return attrs.evolve(spec, **values)
    except SpecError as error:
        raise SpecError(error.what, where=inside(where, error.where), mend=error.mend) from None


def _change(value: Any, changes: _Changes, hint: Any, where: str, class_of: _ClassOf, text: str) -> Any:
    """A field's value after the changes that end at it, then those that lead into it."""
    for path, new in changes:
        if not path:
            value = _read(new, hint, where, class_of, text) if isinstance(new, str) else new
    inner = [(path, new) for path, new in changes if path]
    if not inner:
        return value
    if isinstance(value, Spec):
        return _evolve(value, inner, where, class_of)
    if not isinstance(value, (Mapping, tuple)):
        specs = [choice for choice in typing.get_args(hint) if isinstance(choice, type) and issubclass(choice, Spec)]
        mend = f'set it as a whole: {where}={{"{inner[0][0][0]}": …}}' if value is None and specs else ""
        what = f"{where} has no fields of its own: it is {value!r}"
        raise SpecError(what, where=inside(where, ".".join(inner[0][0])), mend=mend)
    items: dict[str, Any] = dict(value if isinstance(value, Mapping) else {str(i): v for i, v in enumerate(value)})
    arguments = typing.get_args(hint) or (Any,)
    for key, deeper in _by_first(inner).items():
        if key not in items:
            raise SpecError(f"{where} has no {key!r}", where=inside(where, key), mend=did_you_mean(key, items))
        of_item = arguments[int(key)] if isinstance(value, tuple) and Ellipsis not in arguments else arguments[-1]
        of_item = arguments[0] if of_item is Ellipsis else of_item
        items[key] = _change(items[key], deeper, of_item, inside(where, key), class_of, text)
    return items if isinstance(value, Mapping) else tuple(items.values())


def _by_first(changes: _Changes) -> dict[str, _Changes]:
    grouped: dict[str, _Changes] = {}
    for path, value in changes:
        grouped.setdefault(path[0], []).append((path[1:], value))
    return grouped


def _read(text: str, hint: Any, where: str, class_of: _ClassOf, mend: str) -> Any:
    """A command line's text as a value of ``hint``: JSON, Python such as ``0.1, 0.3`` or ``None``, or the text."""
    value = _literal(text)
    if isinstance(value, Mapping):
        return from_data(value, hint, class_of)  # its own error says more than that the text does not fit
    for candidate in (value, text):
        try:
            return from_data(candidate, hint, class_of)
        except SpecError:
            continue
    raise SpecError(f"{where} must be {type_words(hint)}, got {text!r}", where=where, mend=mend)


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return list(value) if isinstance(value, tuple) else value
