"""Names of fields and values for tables and for file names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from didact import Spec


def short_names(fields: Sequence[str]) -> dict[str, str]:
    """Shortens each dotted field to its shortest unique ending: ``targets.k`` becomes ``k``."""
    names = {}
    for field in fields:
        parts = field.split(".")
        endings = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in fields if other != field]
        names[field] = next(
            (end for end in endings if not any(other == end or other.endswith(f".{end}") for other in others)), field
        )
    return names


def value_words(value: Any) -> str:
    """Formats a field's value for a table; a spec is shown as its class and its non-default fields."""
    if isinstance(value, Spec):
        changed = [
            f"{field.name}={value_words(getattr(value, field.name))}"
            for field in attrs.fields(type(value))
            if getattr(value, field.name) != _default(field)
        ]
        return f"{type(value).__name__}({', '.join(changed)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {value_words(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(value_words(item) for item in value)})"
    if isinstance(value, float):
        return f"{value:.10g}"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def folder_name(text: str) -> str:
    """Converts text to a file name that has only letters, digits and ``-_.=``."""
    return re.sub(r"[^\w.=-]+", "-", text, flags=re.ASCII).strip("-.") or "variant"


def _default(field: Any) -> Any:
    return field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
