"""Specs as plain data, which is what checkpoints, run folders and trackers hold, and back."""

from __future__ import annotations

import hashlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs
import typeguard

from didact.errors import SpecError, inside
from didact.spec.base import Spec, field_documentation, field_types, type_words

TAG = "spec"  # the key under which a spec's data holds its registered name


def to_data(spec: Any, name_of: Callable[[type[Spec]], str | None] = lambda cls: None) -> Any:
    """Plain data (dictionaries, lists, strings, numbers) that `from_data` turns back into an equal value.

    Args:
        spec: a spec, or any value that stands in a spec's field.
        name_of: the registered name of a spec class, or None for the core's own, whose place says what they are.
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


def from_data(data: Any, hint: Any, class_of: Callable[[str], type[Spec]] | None = None) -> Any:
    """The value of type ``hint`` that ``data`` describes; the inverse of `to_data`.

    Args:
        data: what `to_data` gave, possibly through JSON.
        hint: the type to make: a spec class, a union of them, or any type that a field may have.
        class_of: finds a spec class by its registered name; it raises where the plugin is missing.

    Raises:
        SpecError: a field is unknown, missing, or of the wrong type.
    """
    return _Reader(class_of).read(data, hint)


def fingerprint(data: Any) -> str:
    """SHA-256 of the canonical JSON of plain data, as hexadecimal; 1 and 1.0 are the same number (RFC 8785)."""
    canonical = json.dumps(
        _whole_numbers(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _whole_numbers(data: Any) -> Any:
    """The data with every float that is a whole number as an int."""
    if isinstance(data, Mapping):
        return {key: _whole_numbers(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_whole_numbers(value) for value in data]
    return int(data) if isinstance(data, float) and data.is_integer() else data


class _Reader:
    """Makes specs of data through cattrs, strictly: a value of another type is an error, never converted."""

    def __init__(self, class_of: Callable[[str], type[Spec]] | None) -> None:
        self.class_of = class_of
        self.converter = converter = cattrs.Converter(detailed_validation=False)
        for scalar in (int, float, str, bool):  # by type: cattrs asks its own hooks for these before any predicate
            converter.register_structure_hook(scalar, self.scalar)
        converter.register_structure_hook(Path, self.path)
        by_origin = {
            typing.Union: self.union,
            types.UnionType: self.union,
            typing.Literal: self.literal,
            tuple: self.tuple,
            Mapping: self.mapping,
            dict: self.mapping,
        }
        for origin, hook in by_origin.items():
            converter.register_structure_hook_func(_has_origin(origin), hook)
        converter.register_structure_hook_func(lambda h: isinstance(h, type) and issubclass(h, Spec), self.spec)

    def read(self, data: Any, hint: Any) -> Any:
        return self.converter.structure(data, hint)

    def spec(self, data: Any, hint: type[Spec]) -> Spec:
        if isinstance(data, Spec):
            return data
        if not isinstance(data, Mapping):
            raise SpecError(f"{hint.__name__} must be described by its fields, got {data!r}")
        fields = dict(data)
        name = fields.pop(TAG, None)
        cls = hint if name is None or self.class_of is None else self.class_of(name)
        if inspect.isabstract(cls):
            raise SpecError(f"which {cls.__name__} is meant must be named by its {TAG!r}, got {sorted(data)}")
        hints = field_types(cls)
        values = {}
        for key, value in fields.items():
            try:
                values[key] = self.read(value, hints.get(key, Any))  # the class names unknown fields itself
            except SpecError as error:
                what, mend = error.what, error.mend
                if not error.where and not isinstance(value, Mapping):
                    what = f"{cls.__name__}.{key} must be {type_words(hints[key])}, got {value!r}"
                    mend = field_documentation(cls).get(key, "")
                raise SpecError(what, where=inside(key, error.where), mend=mend) from None
        return cls(**values)

    def union(self, data: Any, hint: Any) -> Any:
        choices = typing.get_args(hint)
        if data is None and type(None) in choices:
            return None
        specs = [choice for choice in choices if isinstance(choice, type) and issubclass(choice, Spec)]
        if isinstance(data, Mapping) and (len(specs) == 1 or (specs and TAG in data)):
            return self.spec(data, specs[0])  # its own error says more than "fits no choice"
        for choice in choices:
            if choice is type(None):
                continue
            try:
                value = self.read(data, choice)
                typeguard.check_type(value, choice)
            except (SpecError, typeguard.TypeCheckError, TypeError, ValueError):
                continue
            return value
        raise _unfit(data, hint)

    def scalar(self, data: Any, hint: Any) -> Any:
        if hint is float and type(data) is int:
            return float(data)  # JSON writes 1.0 as it likes
        if type(data) is not hint:
            raise _unfit(data, hint)
        return data

    def path(self, data: Any, hint: Any) -> Path:
        if not isinstance(data, (str, Path)):
            raise _unfit(data, hint)
        return Path(data)

    def literal(self, data: Any, hint: Any) -> Any:
        if data not in typing.get_args(hint):
            raise _unfit(data, hint)
        return data

    def tuple(self, data: Any, hint: Any) -> Any:
        arguments = typing.get_args(hint)
        if not isinstance(data, (list, tuple)):
            raise _unfit(data, hint)
        if arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(data)
        if len(arguments) != len(data):
            raise _unfit(data, hint)
        return tuple(self.read(item, argument) for item, argument in zip(data, arguments, strict=True))

    def mapping(self, data: Any, hint: Any) -> Any:
        if not isinstance(data, Mapping):
            raise _unfit(data, hint)
        of_value = (typing.get_args(hint) or (str, Any))[1]
        values = {}
        for key, value in data.items():
            try:
                values[key] = self.read(value, of_value)
            except SpecError as error:
                raise SpecError(error.what, where=inside(str(key), error.where), mend=error.mend) from None
        return values


def _has_origin(origin: Any) -> Callable[[Any], bool]:
    return lambda hint: typing.get_origin(hint) is origin


def _unfit(data: Any, hint: Any) -> SpecError:
    return SpecError(f"{data!r} is not {type_words(hint)}")
