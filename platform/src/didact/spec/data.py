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

from didact.errors import SpecError
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
    return _converter(class_of).structure(data, hint)


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


def _converter(class_of: Callable[[str], type[Spec]] | None) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)

    def is_spec(hint: Any) -> bool:
        return isinstance(hint, type) and issubclass(hint, Spec)

    def structure_spec(data: Any, hint: type[Spec]) -> Spec:
        if isinstance(data, Spec):
            return data
        if not isinstance(data, Mapping):
            raise SpecError(f"{hint.__name__} must be described by its fields, got {data!r}")
        fields = dict(data)
        name = fields.pop(TAG, None)
        cls = hint if name is None or class_of is None else class_of(name)
        if inspect.isabstract(cls):
            raise SpecError(f"which {cls.__name__} is meant must be named by its {TAG!r}, got {sorted(data)}")
        hints = field_types(cls)
        values = {}
        for key, value in fields.items():
            try:
                values[key] = converter.structure(value, hints.get(key, Any))  # the class names unknown fields itself
            except SpecError as error:
                what, mend = error.what, error.mend
                if not error.where and not isinstance(value, Mapping):
                    what = f"{cls.__name__}.{key} must be {type_words(hints[key])}, got {value!r}"
                    mend = field_documentation(cls).get(key, "")
                raise SpecError(what, where=join(key, error.where), mend=mend) from None
        return cls(**values)

    def structure_union(data: Any, hint: Any) -> Any:
        specs = [choice for choice in typing.get_args(hint) if is_spec(choice)]
        if isinstance(data, Mapping) and (len(specs) == 1 or (specs and TAG in data)):
            return structure_spec(data, specs[0])  # its own error says more than "fits no choice"
        for choice in typing.get_args(hint):
            if choice is type(None):
                if data is None:
                    return None
                continue
            try:
                value = converter.structure(data, choice)
                typeguard.check_type(value, choice)
            except (SpecError, typeguard.TypeCheckError, TypeError, ValueError):
                continue
            return value
        raise SpecError(f"{data!r} is not {type_words(hint)}")

    def structure_scalar(data: Any, hint: Any) -> Any:
        if hint is float and isinstance(data, int) and not isinstance(data, bool):
            return float(data)
        if type(data) is not hint:
            raise SpecError(f"{data!r} is not {type_words(hint)}")
        return data

    def structure_path(data: Any, hint: Any) -> Path:
        if not isinstance(data, (str, Path)):
            raise SpecError(f"{data!r} is not a path")
        return Path(data)

    def structure_literal(data: Any, hint: Any) -> Any:
        if data not in typing.get_args(hint):
            raise SpecError(f"{data!r} is not {type_words(hint)}")
        return data

    def structure_tuple(data: Any, hint: Any) -> Any:
        arguments = typing.get_args(hint)
        if not isinstance(data, (list, tuple)):
            raise SpecError(f"{data!r} is not {type_words(hint)}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(converter.structure(item, arguments[0]) for item in data)
        if len(arguments) != len(data):
            raise SpecError(f"{data!r} is not {type_words(hint)}")
        return tuple(converter.structure(item, argument) for item, argument in zip(data, arguments, strict=True))

    def structure_mapping(data: Any, hint: Any) -> Any:
        if not isinstance(data, Mapping):
            raise SpecError(f"{data!r} is not {type_words(hint)}")
        of_value = (typing.get_args(hint) or (str, Any))[1]
        values = {}
        for key, value in data.items():
            try:
                values[key] = converter.structure(value, of_value)
            except SpecError as error:
                raise SpecError(error.what, where=join(str(key), error.where), mend=error.mend) from None
        return values

    unions: tuple[Any, ...] = (typing.Union, types.UnionType)

    def origin(hint: Any) -> Any:
        return typing.get_origin(hint)

    converter.register_structure_hook_func(lambda hint: origin(hint) in unions, structure_union)
    converter.register_structure_hook_func(lambda hint: origin(hint) is tuple, structure_tuple)
    converter.register_structure_hook_func(lambda hint: origin(hint) is typing.Literal, structure_literal)
    converter.register_structure_hook_func(lambda hint: origin(hint) in (Mapping, dict), structure_mapping)
    for scalar in (int, float, str, bool):  # by type: cattrs asks its own hooks for these before any predicate
        converter.register_structure_hook(scalar, structure_scalar)
    converter.register_structure_hook(Path, structure_path)
    converter.register_structure_hook_func(is_spec, structure_spec)
    return converter


def join(where: str, field: str) -> str:
    """A field's dotted place inside another's; either may be empty."""
    return f"{where}.{field}" if where and field else where or field
