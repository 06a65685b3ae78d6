"""What a spec is: fields that are checked when it is made."""

from __future__ import annotations

import abc
import functools
import inspect
import re
import types
import typing
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import attrs
import typeguard

from didact.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from didact.preflight import Finding, Preflight


class SpecType(abc.ABCMeta):
    """The type of spec classes: says which field is misspelt or missing, where Python would raise a bare TypeError."""

    if not TYPE_CHECKING:  # an editor would take this for every constructor, and know no field

        def __call__(cls, *values: Any, **fields: Any) -> Any:
            if attrs.has(cls):
                own = {field.alias: field for field in attrs.fields(cls) if field.init}
                if values:
                    raise SpecError(f"{cls.__name__} takes its fields by name, got {values[0]!r}", mend=", ".join(own))
                for name in fields:
                    if name not in own:
                        raise SpecError(
                            f"{cls.__name__} has no field {name!r}", where=name, mend=did_you_mean(name, own)
                        )
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

    def examine(self, preflight: Preflight) -> Iterable[Finding]:
        """What this part thinks of the run that it is about to be part of; the default reports nothing.

        `validate` judges fields by themselves; this judges them by the data and the length of the run: a span against
        the samples there are, a teacher's memory against the steps. ``didact doctor`` asks every spec in the experiment
        and tells all that is found; ``didact run`` asks as well, tells warnings, and does not start where there is an
        error. What an evaluation or an observer is composed of is not asked.

        Args:
            preflight: what is known before the first step.

        Returns:
            findings, each ``where`` a field of this spec, or empty.

        Raises:
            DidactError: the part cannot be used in this run at all, which is told as an error.
        """
        return ()

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
        from didact.spec.changes import evolve  # here: changes are made of specs

        return evolve(self, changes)


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
    if hint is Ellipsis:
        return "..."
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if arguments:
        return f"{origin.__name__}[{', '.join(type_words(argument) for argument in arguments)}]"
    return str(getattr(hint, "__name__", hint))


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
