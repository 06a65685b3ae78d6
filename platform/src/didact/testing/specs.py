"""What every spec promises: frozen, by keyword, documented, plain data and back."""

from __future__ import annotations

import inspect
import json
import pickle
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from didact.errors import DidactError
from didact.plugins import registry
from didact.preflight import Finding, Preflight
from didact.spec import Spec, field_documentation, field_types, fingerprint, from_data, to_data
from didact.tensors import Layout
from didact.testing.closeness import untouched_randomness
from didact.testing.examples import Case
from didact.testing.rules import NotJudged
from didact.testing.tiny import tiny_preflight


def check_frozen(case: Case) -> None:
    """The class is an attrs class of its own, frozen, by keyword, without defaults that could change."""
    cls = type(case.spec)
    assert "__attrs_attrs__" in vars(cls), f"{cls.__name__} is not decorated with @attrs.frozen(kw_only=True) itself"
    frozen = getattr(cls, "__setattr__") is not getattr(object, "__setattr__")  # noqa: B009
    assert frozen, f"{cls.__name__} is not frozen"
    positional = [field.name for field in attrs.fields(cls) if field.init and not field.kw_only]
    assert not positional, f"{positional} can be given without their names"
    hidden = [field.name for field in attrs.fields(cls) if not field.init]
    assert not hidden, f"{hidden} cannot be given, so a run's record does not bring them back"
    mutable = [f.name for f in attrs.fields(cls) if isinstance(f.default, (list, dict, set))]
    assert not mutable, f"the defaults of {mutable} could change"


def check_documentation(case: Case) -> None:
    """The class has a docstring, whose ``Attributes:`` say what each field is, and no field that is not there."""
    cls = type(case.spec)
    assert inspect.getdoc(cls) and cls.__doc__, f"{cls.__name__} has no docstring"  # noqa: PT018
    texts = field_documentation(cls)
    silent = [field.name for field in attrs.fields(cls) if len(texts.get(field.name, "")) < 3]
    assert not silent, f"`Attributes:` of {cls.__name__} says nothing of {silent}"
    unknown = sorted(set(texts) - {field.name for field in attrs.fields(cls)})
    assert not unknown, f"`Attributes:` of {cls.__name__} tells of {unknown}, which are no fields"


def check_data(case: Case) -> None:
    """A spec becomes JSON, and JSON an equal spec."""
    data = to_data(case.spec, registry().name_of)
    again = from_data(json.loads(json.dumps(data)), type(case.spec), registry().class_of)
    assert again == case.spec, f"{case.spec!r} came back as {again!r}"
    name_of = registry().name_of
    assert fingerprint(to_data(again, name_of)) == fingerprint(data), "its fingerprint changed on the way"


def check_fingerprint(case: Case) -> None:
    """Every field changes the fingerprint: two specs that differ are two specs in a run's record."""
    try:
        before = fingerprint(to_data(case.spec, registry().name_of))
    except TypeError as error:
        raise NotJudged(f"it does not become data, which the rule 'data' tells: {error}") from error
    varied = 0
    for field in attrs.fields(type(case.spec)):
        other = _another(case.spec, field.name)
        if other is None:
            continue
        varied += 1
        value = getattr(other, field.name)
        assert other != case.spec, f"it equals itself with {field.name}={value!r}"
        after = fingerprint(to_data(other, registry().name_of))
        assert after != before, f"with {field.name}={value!r} its fingerprint is the same"
    if not varied and attrs.fields(type(case.spec)):
        raise NotJudged("no field could be given another value")


def check_pickling(case: Case) -> None:
    """A spec crosses to a loader's worker."""
    again = pickle.loads(pickle.dumps(case.spec))
    assert again == case.spec, f"{case.spec!r} came over as {again!r}"


def check_examination(case: Case) -> None:
    """What a spec thinks of a run are findings, each with a mend, and the same whenever it is asked."""
    name, fields = type(case.spec).__name__, {field.name for field in attrs.fields(type(case.spec))}
    for preflight in _preflights():
        with untouched_randomness("examine"):
            try:
                findings = list(case.spec.examine(preflight))
            except DidactError:
                continue  # it says that it cannot be used there
        assert findings == list(case.spec.examine(preflight)), f"{name} finds something else when asked again"
        for finding in findings:
            assert isinstance(finding, Finding), f"{name} yields {finding!r}, which is no finding"
            assert finding.says, f"{name} does not say what it saw"
            assert finding.severity == "fine" or finding.mend, f"{name} does not say how to mend {finding.says!r}"
            first = finding.where.partition(".")[0]
            assert not first or first in fields, f"{name} says where: {finding.where!r}, which is none of its fields"


def _another(spec: Spec, name: str) -> Spec | None:
    """The spec with another valid value of a field; None where none was found."""
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
    """Values beside one, most of which fit its type."""
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
    """Runs of one step and of a million, on long and short sequences, and on grids."""
    for steps in (1, 1_000_000):
        for shapes in (((3,), (9,)), ((50,), (1500,)), ((4, 4),), ((14, 14),)):
            yield tiny_preflight(*map(Layout, shapes), steps=steps)
