"""What every medium promises."""

from __future__ import annotations

from collections.abc import Mapping

from didact.contracts import Medium
from didact.errors import DataError


def check_medium(
    medium: Medium,
    good: Mapping[str, bytes],
    bad: Mapping[str, bytes],
    options: Mapping[str, str] | None = None,
) -> None:
    """Takes files apart.

    Args:
        medium: to check.
        good: ``name → bytes`` of files that it reads.
        bad: of files that it must refuse.
        options: of the command line.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    kind = type(medium)
    assert kind.kind.isidentifier(), f"kind is a word of the command line, got {kind.kind!r}"
    assert kind.unit, "unit names what a record's length counts"
    for suffix in kind.suffixes:
        assert suffix.startswith("."), f"suffixes are lower-case with their dot, got {suffix!r}"
        assert suffix == suffix.lower(), f"suffixes are lower-case with their dot, got {suffix!r}"
    for name, data in good.items():
        records = medium.records(data, name, options or {})
        assert records, f"{name} holds a record"
        for record in records:
            assert record.length > 0, f"a record of {name} has a length"
            assert isinstance(record.data, bytes), f"a record of {name} keeps the media's own bytes"
            assert record.name, f"a record of {name} says where it came from"
            described = medium.describe(record)
            assert "\n" not in described, "a description is one line"
            assert described, "a description is one line"
        again = medium.records(data, name, options or {})
        assert [r.data for r in again] == [r.data for r in records], "the same bytes give the same records"
    for name, data in bad.items():
        refused = False
        try:
            medium.records(data, name, options or {})
        except DataError:
            refused = True
        assert refused, f"{name} cannot be read and must be refused with a DataError that gives the reason"
