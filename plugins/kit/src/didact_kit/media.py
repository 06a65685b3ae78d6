"""The rules that every medium and every command must follow."""

from __future__ import annotations

import codecs
import contextlib

import click

from didact.errors import DataError
from didact_kit.examples import Case
from didact_kit.rules import NotJudged


def check_reading(case: Case) -> None:
    """Checks that the same bytes give the same records, each with the file's own bytes, a length and a name."""
    medium, example = case.spec, case.example
    kind = type(medium)
    assert kind.kind.isidentifier(), f"kind must be a word of the command line, got {kind.kind!r}"
    assert kind.unit, "unit is empty; it must name what a record's length counts"
    wrong = [suffix for suffix in kind.suffixes if not suffix.startswith(".") or suffix != suffix.lower()]
    assert not wrong, f"suffixes must be lower-case and begin with a dot, got {wrong}"
    assert example.good, "the example has no good files"
    for name, data in example.good.items():
        records = medium.records(data, name, example.options)
        assert records, f"{name} gives no record"
        for record in records:
            assert record.length > 0, f"a record of {name} has the length {record.length}"
            assert isinstance(record.data, bytes), (
                f"a record of {name} must hold bytes, got {type(record.data).__name__}"
            )
            assert record.name, f"a record of {name} has no name"
            described = medium.describe(record)
            assert described and "\n" not in described, f"a description must be one line, got {described!r}"  # noqa: PT018
        if len(records) == 1 and records[0].data != data and not _text(data):
            with contextlib.suppress(DataError):  # a record of a table or an archive is no such file
                medium.records(records[0].data, name, example.options)
                raise AssertionError(f"the record of {name} holds a file in another coding, not the file's own bytes")
        again = medium.records(data, name, example.options)
        assert [r.data for r in again] == [r.data for r in records], f"two readings of {name} give different records"


def _text(data: bytes) -> bool:
    """Whether a file is text, which a record holds as UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return True


def check_refusing(case: Case) -> None:
    """Checks that a file that cannot be read is refused with a `DataError`."""
    if not case.example.bad:
        raise NotJudged("the example has no bad files")
    for name, data in case.example.bad.items():
        refused = False
        try:
            case.spec.records(data, name, case.example.options)
        except DataError:
            refused = True
        except Exception as error:  # foreign code
            raise AssertionError(f"{name} fails without a DataError: {type(error).__name__}: {error}") from error
        assert refused, f"{name} was read without an error"


def check_help(case: Case) -> None:
    """Checks that a command and each of its options have a help text."""
    command: click.Command = case.spec
    assert (command.help or "").strip(), "it has no help text"
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    silent = [option.opts[0] for option in options if not option.help]
    assert not silent, f"{silent} have no help text"
