"""Specs: the frozen, validated values of which an experiment consists. They convert to plain data and back.

A spec is a class decorated with ``@attrs.frozen(kw_only=True)`` that inherits from `Spec`. Its fields are checked on
construction, types first and ranges second. The ``Attributes:`` section of its docstring documents every field; an
error about a field shows the field's text.
"""

from __future__ import annotations

import abc
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import attrs

from didact.errors import SpecError, did_you_mean, inside, of_field

Read = Callable[[str, Any, str, str], Any]  # (text, type, place, field's documentation) -> value
FIELDS = {  # of earlier commits, with their replacements; ``Class.field`` where other classes have such a field
    **{f"Training.{name}": f"optimizer.{name}" for name in ("learning_rate", "weight_decay", "betas", "epsilon")},
    "micro_batches": "gradient_accumulation_steps",
    "recompute": "activation_checkpointing",
    "clip_norm": "max_grad_norm",
    "workers": "num_workers",
    "parallel": "strategy",
    "decay_vectors": "no field any more: modules name what is not decayed in `no_weight_decay()`",
    "course": "schedule",
    "shares": "share",
    "descriptor": "feature",
}


class FrozenDict(Mapping[Any, Any]):
    """An immutable, hashable mapping. Specs store their mappings in this form."""

    def __init__(self, items: Mapping[Any, Any]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: Any) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


class SpecType(abc.ABCMeta):
    """The metaclass of specs. It reports misspelt or missing fields by name, instead of Python's bare TypeError."""

    if not TYPE_CHECKING:  # an editor would use this signature for every constructor and lose the fields

        def __call__(cls, *values: Any, **fields: Any) -> Any:
            if attrs.has(cls):
                own = {field.alias: field for field in attrs.fields(cls) if field.init}
                if values:
                    raise SpecError(f"{cls.__name__} takes its fields by name, got {values[0]!r}", hint=", ".join(own))
                if unknown := [name for name in fields if name not in own]:
                    raise _unknown(cls, unknown, own, unknown[0])
                needed = [name for name, field in own.items() if field.default is attrs.NOTHING and name not in fields]
                if needed and not inspect.isabstract(cls):
                    hint = field_documentation(cls).get(needed[0], "")
                    raise SpecError(f"{cls.__name__}.{needed[0]} is missing", where=needed[0], hint=hint)
            return super().__call__(*values, **fields)


@attrs.frozen(kw_only=True)
class Spec(metaclass=SpecType):
    """The base class of an experiment and all of its parts."""

    def __attrs_post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
            value = getattr(self, name)
            self.require(fits(value, hint), name, type_words(hint), f" ({type(value).__name__})")
            object.__setattr__(self, name, _frozen(value))
        self.validate()

    def validate(self) -> None:
        """Checks what types cannot express; called after the types of all fields have been checked.

        Raises:
            SpecError: a value is out of range, or two fields contradict each other. `require` formats the error.
        """

    def require(self, condition: bool, field: str, rule: str, more: str = "") -> None:
        """Raises a `SpecError` unless ``condition`` holds; its hint is the field's documentation."""
        if not condition:
            what = f"{type(self).__name__}.{field} must be {rule}, got {getattr(self, field)!r}{more}"
            raise SpecError(what, where=field, hint=field_documentation(type(self)).get(field, ""))

    def evolve(self, **changes: Any) -> Self:
        """Returns a copy with some fields changed; dots address nested fields: ``evolve(**{"targets.k": 4})``.

        Dots address fields of specs, keys of mappings, and indices of tuples. All changes are made at once, so only the
        result must be valid.

        Raises:
            SpecError: there is no such field (with a suggestion), or a value does not fit the field.
        """
        return evolve(self, changes)


SpecT = typing.TypeVar("SpecT", bound=Spec)


def evolve(spec: SpecT, changes: Mapping[str, Any], read: Read | None = None, where: str = "") -> SpecT:
    """Returns a copy of a spec with dotted fields changed; see `Spec.evolve`.

    Args:
        spec: the spec to copy.
        changes: ``dotted field → value``.
        read: converts string values to values of their field's type; None leaves strings unchanged.
        where: the spec's location in the experiment, for errors.
    """
    cls, hints, values = type(spec), field_types(type(spec)), {}
    for name, inner in _by_first(changes).items():
        place = inside(where, name)
        if name not in hints:
            raise _unknown(cls, [name], hints, place)
        text = field_documentation(cls).get(name, "")
        values[name] = _change(getattr(spec, name), inner, hints[name], place, read, text)
    with of_field(where):
        return attrs.evolve(spec, **values)


def field_documentation(cls: type) -> dict[str, str]:
    """Returns each field's text from the ``Attributes:`` sections of a class and its bases."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        section = re.search(r"^Attributes:\n((?:[ ]{4}.*\n?|\n)+)", inspect.cleandoc(base.__doc__ or ""), re.MULTILINE)
        for entry in re.split(r"^(?=    \w+:)", section[1] if section else "", flags=re.MULTILINE):
            name, _, text = entry.strip().partition(":")
            if name:
                texts[name] = " ".join(text.split())
    return texts


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """Returns every field of a spec class with its type; annotations are resolved."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in attrs.fields(cls)}


def type_words(hint: Any) -> str:
    """Formats a type as a user would write it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(type_words, arguments))
    if arguments:
        return f"{origin.__name__}[{', '.join(map(type_words, arguments))}]"
    return {type(None): "None", ...: "..."}.get(hint) or str(getattr(hint, "__name__", hint))


def fits(value: Any, hint: Any) -> bool:
    """Returns whether a value has the type ``hint``, which must be a type that a spec's field may have.

    These types are classes, unions, literals, tuples and other sequences, and mappings. An int is accepted as a float;
    a bool is accepted as neither int nor float, because ``depth=True`` is a mistake.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is None:
        return hint is Any or value is None
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, choice) for choice in arguments)
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(arguments) and all(map(fits, value, arguments))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, origin | FrozenDict) and all(
            fits(key, arguments[0]) and fits(item, arguments[1]) for key, item in value.items()
        )
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return isinstance(value, origin) and all(fits(item, arguments[0]) for item in value)
    if isinstance(value, bool) and hint in (int, float):
        return False
    return isinstance(value, (int, float) if hint is float else origin or hint)


def _unknown(cls: type, names: Sequence[str], known: Iterable[str], where: str) -> SpecError:
    now = {name: FIELDS.get(f"{cls.__name__}.{name}", FIELDS.get(name)) for name in names}
    renamed = [f"{name} is {new} now" for name, new in now.items() if new is not None]
    what = f"{cls.__name__} has no field {', '.join(map(repr, names))}"
    return SpecError(what, where=where, hint="; ".join(renamed) or did_you_mean(names[0], known))


def _frozen(value: Any, item: bool = False) -> Any:
    """Returns the value with mappings frozen at any depth and lists in mappings (``item``) converted to tuples."""
    if type(value) is tuple or (item and type(value) is list):
        return tuple(_frozen(each, item) for each in value)
    if isinstance(value, Mapping) and not isinstance(value, FrozenDict):
        return FrozenDict({key: _frozen(each, item=True) for key, each in value.items()})
    return value


def _change(value: Any, changes: Mapping[str, Any], hint: Any, where: str, read: Read | None, text: str) -> Any:
    """Returns a field's value after a change of the field itself and then changes of its nested fields."""
    inner = dict(changes)
    if "" in inner:
        new = inner.pop("")
        value = read(new, hint, where, text) if read is not None and isinstance(new, str) else new
    if not inner:
        return value
    if isinstance(value, Spec):
        return evolve(value, inner, read, where)
    if not isinstance(value, (Mapping, tuple)):
        path = next(iter(inner))
        specs = [choice for choice in typing.get_args(hint) if isinstance(choice, type) and issubclass(choice, Spec)]
        advice = f'set it as a whole: {where}={{"{path.partition(".")[0]}": …}}' if value is None and specs else ""
        what = f"{where} has no fields of its own: it is {value!r}"
        raise SpecError(what, where=inside(where, path), hint=advice)
    items: dict[str, Any] = dict(value if isinstance(value, Mapping) else {str(i): v for i, v in enumerate(value)})
    arguments = typing.get_args(hint) or (Any,)
    for key, deeper in _by_first(inner).items():
        if key not in items:
            raise SpecError(f"{where} has no {key!r}", where=inside(where, key), hint=did_you_mean(key, items))
        of_item = arguments[int(key)] if isinstance(value, tuple) and Ellipsis not in arguments else arguments[-1]
        of_item = arguments[0] if of_item is Ellipsis else of_item
        items[key] = _change(items[key], deeper, of_item, inside(where, key), read, text)
    return items if isinstance(value, Mapping) else tuple(items.values())


def _by_first(changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Groups changes by the first part of their dotted field, then by the rest, which is "" if nothing is left."""
    grouped: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        first, _, rest = path.partition(".")
        grouped.setdefault(first, {})[rest] = value
    return grouped
