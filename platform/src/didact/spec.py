"""Specs: what an experiment composes. Frozen, validated values that turn into plain data and back.

A spec is a class decorated with ``@attrs.frozen(kw_only=True)`` that inherits `Spec`. Its fields are checked when it
is made, type first and range second; its docstring's ``Attributes:`` section documents every field, and that text is
what an error tells the user who got the field wrong.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import attrs
import cattrs
import typeguard

from didact.errors import SpecError, did_you_mean

TAG = "spec"  # the key under which a spec's data holds its registered name


class SpecType(abc.ABCMeta):
    """The type of spec classes: says which field is misspelt or missing, where Python would raise a bare TypeError."""

    def __call__(cls, *values: Any, **fields: Any) -> Any:
        if attrs.has(cls):
            own = {field.alias: field for field in attrs.fields(cls) if field.init}
            if values:
                raise SpecError(f"{cls.__name__} takes its fields by name, got {values[0]!r}", mend=", ".join(own))
            for name in fields:
                if name not in own:
                    raise SpecError(f"{cls.__name__} has no field {name!r}", where=name, mend=did_you_mean(name, own))
            for name, field in own.items():
                if field.default is attrs.NOTHING and name not in fields and not inspect.isabstract(cls):
                    mend = field_documentation(cls).get(name, "")
                    raise SpecError(f"{cls.__name__}.{name} is missing", where=name, mend=mend)
        return super().__call__(*values, **fields)


@attrs.frozen(kw_only=True)
class Spec(metaclass=SpecType):
    """Base of everything an experiment is composed of."""

    def __attrs_post_init__(self) -> None:
        _check_types(self)
        self.validate()

    def validate(self) -> None:
        """Checks what types cannot say; called once all fields hold the right type.

        Raises:
            SpecError: a value is out of range, or two fields do not fit. Use `require`, which words it.
        """

    def require(self, condition: bool, field: str, rule: str) -> None:
        """Raises a `SpecError` that names the field, the rule and the value, and mends it with the field's own text."""
        if not condition:
            raise SpecError(
                f"{type(self).__name__}.{field} must be {rule}, got {getattr(self, field)!r}",
                where=field,
                mend=field_documentation(type(self)).get(field, ""),
            )

    def evolve(self, **changes: Any) -> Self:
        """A copy with some fields changed; dots reach into fields: ``evolve(**{"targets.k": 4})``."""
        return evolve(self, changes)


SpecT = typing.TypeVar("SpecT", bound=Spec)


def field_documentation(cls: type) -> dict[str, str]:
    """Each field's text from the ``Attributes:`` sections of a class and its bases."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        section = re.search(r"^Attributes:\n((?:[ ]{4}.*\n?|\n)+)", inspect.cleandoc(base.__doc__ or ""), re.MULTILINE)
        if section:
            for entry in re.split(r"\n(?=    \w+:)", "\n" + section.group(1)):
                name, _, text = entry.strip().partition(":")
                texts[name] = " ".join(text.split())
    texts.pop("", None)
    return texts


def evolve(spec: SpecT, changes: Mapping[str, Any], class_of: Callable[[str], type[Spec]] | None = None) -> SpecT:
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


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """Every field of a spec class with its type, annotations resolved."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in attrs.fields(cls)}


def type_words(hint: Any) -> str:
    """A type as a user would write it."""
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(type_words(choice) for choice in typing.get_args(hint))
    if hint is type(None):
        return "None"
    if typing.get_origin(hint) is None and hasattr(hint, "__name__"):
        return str(hint.__name__)
    return str(hint).replace("typing.", "")


def _whole_numbers(data: Any) -> Any:
    """The data with every float that is a whole number as an int."""
    if isinstance(data, Mapping):
        return {key: _whole_numbers(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_whole_numbers(value) for value in data]
    return int(data) if isinstance(data, float) and data.is_integer() else data


def _check_types(spec: Spec) -> None:
    for name, hint in field_types(type(spec)).items():
        value = getattr(spec, name)
        try:
            typeguard.check_type(value, hint, collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS)
            fits = not isinstance(value, bool) or _admits_bool(hint)
        except typeguard.TypeCheckError:
            fits = False
        if not fits:
            raise SpecError(
                f"{type(spec).__name__}.{name} must be {type_words(hint)}, got {value!r} ({type(value).__name__})",
                where=name,
                mend=field_documentation(type(spec)).get(name, ""),
            )


def _admits_bool(hint: Any) -> bool:
    # bool is an int to Python; to a reader of `depth=True` it is a slip
    choices = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    literals = [c for choice in choices if typing.get_origin(choice) is typing.Literal for c in typing.get_args(choice)]
    return bool in choices or Any in choices or any(isinstance(literal, bool) for literal in literals)


_Changes = list[tuple[list[str], Any]]  # what is left of each path, and the value at its end
_ClassOf = Callable[[str], type[Spec]] | None


def _evolve(spec: SpecT, changes: _Changes, where: str, class_of: _ClassOf) -> SpecT:
    cls, hints = type(spec), field_types(type(spec))
    values = {}
    for name, inner in _by_first(changes).items():
        place = _join(where, name)
        if name not in hints:
            raise SpecError(f"{cls.__name__} has no field {name!r}", where=place, mend=did_you_mean(name, hints))
        values[name] = _change(getattr(spec, name), inner, hints[name], place, class_of, field_documentation(cls)[name])
    try:
        return attrs.evolve(spec, **values)
    except SpecError as error:
        raise SpecError(error.what, where=_join(where, error.where), mend=error.mend) from None


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
        raise SpecError(f"{where} has no fields of its own: it is {value!r}", where=_join(where, ".".join(inner[0][0])))
    items: dict[str, Any] = dict(value if isinstance(value, Mapping) else {str(i): v for i, v in enumerate(value)})
    arguments = typing.get_args(hint) or (Any,)
    for key, deeper in _by_first(inner).items():
        if key not in items:
            raise SpecError(f"{where} has no {key!r}", where=_join(where, key), mend=did_you_mean(key, items))
        of_item = arguments[int(key)] if isinstance(value, tuple) and Ellipsis not in arguments else arguments[-1]
        of_item = arguments[0] if of_item is Ellipsis else of_item
        items[key] = _change(items[key], deeper, of_item, _join(where, key), class_of, text)
    return items if isinstance(value, Mapping) else tuple(items.values())


def _by_first(changes: _Changes) -> dict[str, _Changes]:
    grouped: dict[str, _Changes] = {}
    for path, value in changes:
        grouped.setdefault(path[0], []).append((path[1:], value))
    return grouped


def _join(where: str, field: str) -> str:
    return f"{where}.{field}" if where and field else where or field


def _read(text: str, hint: Any, where: str, class_of: _ClassOf, mend: str) -> Any:
    """A command line's text as a value of ``hint``: itself where text fits, else JSON with Python's words allowed."""
    words = {"None": "null", "True": "true", "False": "false"}
    try:
        value = json.loads(words.get(text, re.sub(r"(?<=\d)_(?=\d)", "", text)))
    except json.JSONDecodeError:
        value = text
    if isinstance(value, Mapping):
        return from_data(value, hint, class_of)  # its own error says more than that the text does not fit
    for candidate in (value, text):
        try:
            return from_data(candidate, hint, class_of)
        except SpecError:
            continue
    raise SpecError(f"{where} must be {type_words(hint)}, got {text!r}", where=where, mend=mend)


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
                raise SpecError(what, where=_join(key, error.where), mend=mend) from None
        return cls(**values)

    def structure_union(data: Any, hint: Any) -> Any:
        specs = [choice for choice in typing.get_args(hint) if is_spec(choice)]
        if isinstance(data, Mapping) and (len(specs) == 1 or (specs and TAG in data)):
            return structure_spec(data, specs[0])  # its own error says more than "fits no choice"
        for choice in typing.get_args(hint):
            if choice is type(None) and data is None:
                return None
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
                raise SpecError(error.what, where=_join(str(key), error.where), mend=error.mend) from None
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
