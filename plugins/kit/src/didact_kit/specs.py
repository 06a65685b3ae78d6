"""The rules that every spec must follow: frozen, keyword-only, documented, and convertible to plain data and back."""

from __future__ import annotations

import inspect
import json
import pickle
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from didact.errors import DidactError
from didact.preflight import Finding, Preflight
from didact.serialization import fingerprint
from didact.spec import Spec, field_documentation, field_types
from didact.tensors import Layout
from didact_kit.closeness import untouched_randomness
from didact_kit.doubles import data_of, restored
from didact_kit.examples import Case
from didact_kit.rules import NotJudged
from didact_kit.tiny import tiny_preflight


def check_frozen(case: Case) -> None:
    """Checks that the class is decorated itself, frozen and keyword-only, and that no default is mutable."""
    cls = type(case.spec)
    assert "__attrs_attrs__" in vars(cls), f"{cls.__name__} is not decorated with @attrs.frozen(kw_only=True) itself"
    frozen = getattr(cls, "__setattr__") is not getattr(object, "__setattr__")  # noqa: B009
    assert frozen, f"{cls.__name__} is not frozen"
    positional = [field.name for field in attrs.fields(cls) if field.init and not field.kw_only]
    assert not positional, f"{positional} can be given by position"
    hidden = [field.name for field in attrs.fields(cls) if not field.init]
    assert not hidden, f"{hidden} cannot be given, so a run's record does not restore them"
    mutable = [f.name for f in attrs.fields(cls) if isinstance(f.default, (list, dict, set))]
    assert not mutable, f"the defaults of {mutable} are mutable"
    mutable = [f.name for f in attrs.fields(cls) if isinstance(getattr(case.spec, f.name), (list, set, bytearray))]
    assert not mutable, f"the values of {mutable} can be changed in place"


def check_documentation(case: Case) -> None:
    """Checks that the docstring has an ``Attributes:`` section that describes every field and nothing else."""
    cls = type(case.spec)
    assert inspect.getdoc(cls) and cls.__doc__, f"{cls.__name__} has no docstring"  # noqa: PT018
    texts = field_documentation(cls)
    silent = [field.name for field in attrs.fields(cls) if not texts.get(field.name)]
    assert not silent, f"`Attributes:` of {cls.__name__} does not describe {silent}"
    unknown = sorted(set(texts) - {field.name for field in attrs.fields(cls)})
    assert not unknown, f"`Attributes:` of {cls.__name__} describes {unknown}, which are not fields"


def check_data(case: Case) -> None:
    """Checks that a spec can be converted to JSON and back to an equal spec."""
    try:
        data = data_of(case.spec)
        again = restored(json.loads(json.dumps(data)), type(case.spec))
    except Exception as error:  # whatever a field holds
        raise AssertionError(f"it does not become data: {_said(error)}") from None
    assert again == case.spec, f"{case.spec!r} was restored as {again!r}"
    assert fingerprint(data_of(again)) == fingerprint(data), "the restored spec has another fingerprint"


def check_fingerprint(case: Case) -> None:
    """Checks that every field changes the fingerprint, so that a run's record distinguishes different specs."""
    try:
        before = fingerprint(data_of(case.spec))
    except TypeError as error:
        raise NotJudged(f"it does not become data, which the rule 'data' reports: {error}") from error
    varied = 0
    for field in attrs.fields(type(case.spec)):
        other = _another(case.spec, field.name)
        if other is None:
            continue
        varied += 1
        value = getattr(other, field.name)
        assert other != case.spec, f"it equals itself with {field.name}={value!r}"
        after = fingerprint(data_of(other))
        assert after != before, f"with {field.name}={value!r} its fingerprint is the same"
    if not varied and attrs.fields(type(case.spec)):
        raise NotJudged("no field could be given another value")


def check_pickling(case: Case) -> None:
    """Checks that a spec can be sent to a loader's worker."""
    try:
        again = pickle.loads(pickle.dumps(case.spec))
    except Exception as error:  # whatever a field holds
        raise AssertionError(f"it cannot be pickled: {_said(error)}") from None
    assert again == case.spec, f"{case.spec!r} arrived as {again!r}"


def check_examination(case: Case) -> None:
    """Checks that the spec's ``examine`` yields findings with hints, and the same findings at every call."""
    if not hasattr(case.spec, "examine"):
        raise NotJudged("it has no method examine")
    name, fields = type(case.spec).__name__, {field.name for field in attrs.fields(type(case.spec))}
    for preflight in _preflights():
        with untouched_randomness("examine"):
            try:
                findings = list(case.spec.examine(preflight))
            except DidactError:
                continue  # the spec refuses such a run
        assert findings == list(case.spec.examine(preflight)), f"{name} yields other findings at a second call"
        for finding in findings:
            assert isinstance(finding, Finding), f"{name} yields {finding!r}, which is not a Finding"
            assert finding.says, f"a finding of {name} says nothing"
            assert finding.severity == "fine" or finding.hint, f"the finding {finding.says!r} of {name} has no hint"
            first = finding.where.partition(".")[0]
            assert not first or first in fields, f"a finding of {name} names {finding.where!r}, not one of its fields"


def check_holder(case: Case) -> None:
    """Checks that a part of another part was judged inside one that holds it."""
    if case.holding is None:
        raise NotJudged("it is not registered")
    if case.holding.example is None:
        raise NotJudged(f"its behaviour is not judged: {case.holding.reason}")


def variants(spec: Spec) -> Iterator[Spec]:
    """Yields specs that each differ in the value of one field."""
    yield from filter(None, (_another(spec, field.name) for field in attrs.fields(type(spec))))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _another(spec: Spec, name: str) -> Spec | None:
    """Returns the spec with another valid value in a field; None if none was found."""
    present = getattr(spec, name)
    for value in _values(present, field_types(type(spec))[name]):
        if value == present:
            continue
        try:
            return attrs.evolve(spec, **{name: value})
        except DidactError:
            continue
    return None


def _values(value: Any, hint: Any) -> Iterator[Any]:
    """Yields other values, most of which match the type."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, value * 2, value // 2, value + 8)
    elif isinstance(value, float):
        yield from (value / 2, value * 2, value + 0.125, value - 0.125, 0.5)
    elif isinstance(value, Spec):
        yield from filter(None, (_another(value, field.name) for field in attrs.fields(type(value))))
    elif isinstance(value, tuple):
        yield from ((*value[:-1], item) for item in (_values(value[-1], Any) if value else ()))
        yield from (value[:-1], value * 2)
    elif isinstance(value, Mapping):
        yield from ({}, {**value, "other": next(iter(value.values()), None)})
    for choice in (hint, *typing.get_args(hint)):
        if typing.get_origin(choice) is typing.Literal:
            yield from (word for word in typing.get_args(choice) if word != value)
        elif choice in (int, float):
            yield from (choice(number) for number in (1, 2, 4) if number != value)
        elif choice is str:
            yield f"{value}-other" if isinstance(value, str) else "other"
        elif choice is type(None) and value is not None:
            yield None


def _preflights() -> Iterator[Preflight]:
    """Yields runs of one step and of a million steps, on long and short sequences, and on grids."""
    for steps in (1, 1_000_000):
        for shapes in (((3,), (9,)), ((50,), (1500,)), ((4, 4),), ((14, 14),)):
            yield tiny_preflight(*map(Layout, shapes), steps=steps)
