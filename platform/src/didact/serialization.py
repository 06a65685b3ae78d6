"""Converts specs to plain data and back, for run folders and trackers, and parses values of the command line."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from didact.errors import SpecError, inside, of_field
from didact.spec import Spec, SpecT, evolve, field_documentation, field_types, fits, type_words

ClassOf = Callable[[str], type[Spec]]
TAG = "spec"  # the key under which a spec's data holds its registered name


def to_data(spec: Any, name_of: Callable[[type[Spec]], str | None] = lambda cls: None) -> Any:
    """Converts a spec to plain data (dictionaries, lists, strings, numbers); `from_data` restores an equal value.

    Args:
        spec: a spec, or any value that a spec's field may hold.
        name_of: returns the registered name of a spec class, or None for a core class, which its place identifies.
    """
    if isinstance(spec, Spec):
        name = name_of(type(spec))
        data = {TAG: name} if name is not None else {}
        return data | {field.name: to_data(getattr(spec, field.name), name_of) for field in attrs.fields(type(spec))}
    if isinstance(spec, Mapping):
        return {str(key): to_data(value, name_of) for key, value in spec.items()}
    if isinstance(spec, (tuple, list)):
        return [to_data(value, name_of) for value in spec]
    if isinstance(spec, Path):
        return str(spec)
    return spec


def from_data(data: Any, hint: Any, class_of: ClassOf | None = None) -> Any:
    """Builds the value of type ``hint`` that ``data`` describes; the inverse of `to_data`. Values are not coerced.

    Args:
        data: the output of `to_data`, possibly stored as JSON in between.
        hint: the type of the value, one that a field may have.
        class_of: returns the spec class of a registered name; raises an error if the plugin is missing.

    Raises:
        SpecError: a field is unknown, missing, or of the wrong type.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Spec):
        return _spec(data, hint, class_of)
    if origin in (typing.Union, types.UnionType):
        return _union(data, hint, class_of)
    if origin is tuple and isinstance(data, (list, tuple)):
        choices = (arguments[0],) * len(data) if arguments[-1] is Ellipsis else arguments
        if len(choices) == len(data):
            return tuple(from_data(item, choice, class_of) for item, choice in zip(data, choices, strict=True))
    elif origin in (Mapping, dict) and isinstance(data, Mapping):
        values = {}
        for key, value in data.items():
            with of_field(str(key)):
                values[key] = from_data(value, arguments[1], class_of)
        return values
    elif hint is float and type(data) is int:
        return float(data)  # JSON may store 1.0 as 1
    elif hint is Path and isinstance(data, str):
        return Path(data)
    elif fits(data, hint):
        return data
    raise SpecError(f"{data!r} is not {type_words(hint)}")


def fingerprint(data: Any) -> str:
    """Returns the SHA-256 of plain data as canonical JSON, in hexadecimal; 1 and 1.0 are the same number (RFC 8785)."""
    data = _whole_numbers(data)
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def override(spec: SpecT, settings: Mapping[str, str], class_of: ClassOf | None = None) -> SpecT:
    """Returns a copy of a spec with dotted fields changed, as by ``--set targets.k=4``.

    Args:
        spec: the spec to copy.
        settings: ``dotted field → text``. A text is JSON, Python such as ``0.1, 0.3`` or ``None``, or a plain string.
        class_of: returns the spec class of a registered name, for texts that describe a spec in JSON.

    Raises:
        SpecError: there is no such field (with a suggestion), or a text does not fit the field.
    """

    def read(text: str, hint: Any, where: str, documentation: str) -> Any:
        value = _literal(text)
        if isinstance(value, Mapping):
            return from_data(value, hint, class_of)  # raises a more specific error than the one below
        for candidate in (value, text):
            with contextlib.suppress(SpecError):
                return from_data(candidate, hint, class_of)
        raise SpecError(f"{where} must be {type_words(hint)}, got {text!r}", where=where, hint=documentation)

    return evolve(spec, settings, read)


def _whole_numbers(data: Any) -> Any:
    """Converts every float that is a whole number to an int."""
    if isinstance(data, Mapping):
        return {key: _whole_numbers(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_whole_numbers(value) for value in data]
    return int(data) if isinstance(data, float) and data.is_integer() else data


def _spec(data: Any, hint: type[Spec], class_of: ClassOf | None) -> Spec:
    if isinstance(data, Spec):
        return data
    if not isinstance(data, Mapping):
        raise SpecError(f"{hint.__name__} must be described by its fields, got {data!r}")
    cls = class_of(data[TAG]) if TAG in data and class_of is not None else hint
    if inspect.isabstract(cls):
        raise SpecError(f"which {cls.__name__} is meant must be named by its {TAG!r}, got {sorted(data)}")
    hints, values = field_types(cls), {}
    for key, value in data.items():
        if key == TAG:
            continue
        try:
            values[key] = from_data(value, hints.get(key, Any), class_of)  # the class reports unknown fields
        except SpecError as error:
            what, advice = error.what, error.hint
            if not error.where and not isinstance(value, Mapping):
                what = f"{cls.__name__}.{key} must be {type_words(hints[key])}, got {value!r}"
                advice = field_documentation(cls).get(key, "")
            raise SpecError(what, where=inside(key, error.where), hint=advice) from None
    return cls(**values)


def _union(data: Any, hint: Any, class_of: ClassOf | None) -> Any:
    choices = typing.get_args(hint)
    if data is None and type(None) in choices:
        return None
    specs = [choice for choice in choices if isinstance(choice, type) and issubclass(choice, Spec)]
    if isinstance(data, Mapping) and (len(specs) == 1 or (specs and TAG in data)):
        return _spec(data, specs[0], class_of)  # raises a more specific error than the one below
    for choice in choices:
        with contextlib.suppress(SpecError):
            value = from_data(data, choice, class_of)
            if fits(value, choice):
                return value
    raise SpecError(f"{data!r} is not {type_words(hint)}")


def _literal(text: str) -> Any:
    with contextlib.suppress(json.JSONDecodeError):
        return json.loads(text)
    with contextlib.suppress(ValueError, SyntaxError):
        value = ast.literal_eval(text)
        return list(value) if isinstance(value, tuple) else value
    return text
