"""What every medium and every command promises."""

from __future__ import annotations

import click

from didact.errors import DataError
from didact.testing.examples import Case
from didact.testing.rules import NotJudged


def check_reading(case: Case) -> None:
    """The same bytes give the same records, each with the media's own bytes, a length and a name."""
    medium, example = case.spec, case.example
    kind = type(medium)
    assert kind.kind.isidentifier(), f"kind is a word of the command line, got {kind.kind!r}"
    assert kind.unit, "unit does not say what a record's length counts"
    wrong = [suffix for suffix in kind.suffixes if not suffix.startswith(".") or suffix != suffix.lower()]
    assert not wrong, f"suffixes are lower-case with their dot, got {wrong}"
    assert example.good, "the example has no good files"
    for name, data in example.good.items():
        records = medium.records(data, name, example.options)
        assert records, f"{name} gives no record"
        for record in records:
            assert record.length > 0, f"a record of {name} has the length {record.length}"
            assert isinstance(record.data, bytes), f"a record of {name} holds {type(record.data).__name__}, not bytes"
            assert record.name, f"a record of {name} does not say where it came from"
            described = medium.describe(record)
            assert described and "\n" not in described, f"a description is one line, got {described!r}"  # noqa: PT018
        again = medium.records(data, name, example.options)
        assert [r.data for r in again] == [r.data for r in records], f"{name} read twice gives other records"


def check_refusing(case: Case) -> None:
    """A file that cannot be read is refused with a `DataError`."""
    if not case.example.bad:
        raise NotJudged("the example has no bad files")
    for name, data in case.example.bad.items():
        refused = False
        try:
            case.spec.records(data, name, case.example.options)
        except DataError:
            refused = True
        assert refused, f"{name} was read"


def check_help(case: Case) -> None:
    """A command says what it does, and so does each of its options."""
    command: click.Command = case.spec
    assert (command.help or "").strip(), "it has no help"
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    silent = [option.opts[0] for option in options if not option.help]
    assert not silent, f"{silent} have no help"
