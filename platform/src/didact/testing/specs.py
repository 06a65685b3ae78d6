"""What every spec promises: frozen, by keyword, documented, plain data and back."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Callable, Iterator

import attrs

from didact.errors import DidactError
from didact.plugins import registry
from didact.preflight import Finding, Preflight
from didact.spec import Spec, field_documentation, fingerprint, from_data, to_data
from didact.tensors import Layout
from didact.testing.closeness import untouched_randomness
from didact.testing.tiny import tiny_preflight


def check_spec(spec: Spec, class_of: Callable[[str], type[Spec]] | None = None) -> None:
    """Checks one instance and its class.

    Args:
        spec: an instance with any valid fields.
        class_of: finds the classes of nested specs by name; by default those of the installed plugins.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    check_spec_class(type(spec))
    name_of = registry().name_of
    data = to_data(spec, name_of)
    again = from_data(json.loads(json.dumps(data)), type(spec), class_of or registry().class_of)
    assert again == spec, f"a spec equals itself after data and back: {again!r} is not {spec!r}"
    assert fingerprint(to_data(again, name_of)) == fingerprint(data), "its fingerprint survives data and back"
    assert pickle.loads(pickle.dumps(spec)) == spec, "a spec crosses to a loader's worker"
    check_examination(spec)


def check_examination(spec: Spec) -> None:
    """Has a spec examine short and long runs, on sequences and on grids, and checks what it says.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    name = type(spec).__name__
    for preflight in _preflights():
        with untouched_randomness("examining draws nothing"):
            try:
                findings = list(spec.examine(preflight))
            except DidactError:
                continue  # it says that it cannot be used there
        assert findings == list(spec.examine(preflight)), f"{name} finds the same again"
        for finding in findings:
            assert isinstance(finding, Finding), f"{name} yields findings, not {finding!r}"
            assert finding.says, f"{name} says what it saw"
            assert finding.severity == "fine" or finding.mend, f"{name} says how to mend what it warns of: {finding}"
            first = finding.where.partition(".")[0]
            fields = {field.name for field in attrs.fields(type(spec))}
            assert not first or first in fields, f"{name} says where: one of its fields, not {finding.where!r}"


def check_spec_class(cls: type[Spec]) -> None:
    """Checks a spec class alone.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    name = cls.__name__
    assert "__attrs_attrs__" in vars(cls), f"{name} is decorated with @attrs.frozen(kw_only=True) itself"
    assert cls.__setattr__ is not object.__setattr__, f"{name} is frozen"
    positional = [field.name for field in attrs.fields(cls) if field.init and not field.kw_only]
    assert not positional, f"{name} takes its fields by name only, but not {positional}"
    texts = field_documentation(cls)
    undocumented = [field.name for field in attrs.fields(cls) if len(texts.get(field.name, "")) < 3]
    assert not undocumented, f"{name} documents every field under `Attributes:`, but not {undocumented}"
    unknown = sorted(set(texts) - {field.name for field in attrs.fields(cls)})
    assert not unknown, f"{name} documents fields that it does not have: {unknown}"
    own = inspect.getdoc(cls)
    assert own is not None, f"{name} has a docstring"
    mutable = [f.name for f in attrs.fields(cls) if isinstance(f.default, (list, dict, set))]
    assert not mutable, f"{name} has defaults that could change: {mutable}"


def _preflights() -> Iterator[Preflight]:
    """Runs of one step and of a million, on long and short sequences, and on grids."""
    for steps in (1, 1_000_000):
        for shapes in (((3,), (9,)), ((50,), (1500,)), ((4, 4),), ((14, 14),)):
            yield tiny_preflight(*map(Layout, shapes), steps=steps)
