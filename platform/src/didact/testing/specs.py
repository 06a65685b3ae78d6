"""What every spec promises: frozen, by keyword, documented, plain data and back."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Callable

import attrs

from didact.plugins import registry
from didact.spec import Spec, field_documentation, fingerprint, from_data, to_data


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
