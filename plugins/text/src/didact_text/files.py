"""Text files for ``didact ingest``: plain text, and tables of which a column is text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from didact import DataError, Record, SpecError
from didact.errors import did_you_mean
from didact.ingest import Divisible, Place

SPLITS = ("blank", "line", "file")
OPTIONS = ("split", "text", "label", "fields", "header")
SHOWN_CHARACTERS = 60


class TextFiles(Divisible):
    """``.txt``: documents; ``.tsv`` and ``.csv``: one document a row. UTF-8, and nothing else.

    A large ``.txt`` is read in pieces, unless the whole of it is one document.

    Options:
        split: of a ``.txt``. ``blank`` (the default): documents are parted by blank lines, so a paragraph or a
            WikiText heading such as ``= Homarus gammarus =`` between blank lines is a document of its own. ``line``:
            every line is one. ``file``: the whole file is.
        text: the column that holds the text; its name, or its number from 1. Default: 1.
        label: the column that becomes the field ``label``. Default: none.
        fields: further columns that become fields of their names, with commas between them.
        header: ``yes`` or ``no``; whether the first row names the columns. Default: ``yes`` if any column is given by
            name, else ``no``.
    """

    kind: ClassVar[str] = "text"
    unit: ClassVar[str] = "bytes"
    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".tsv", ".csv")

    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        """The documents of a file; those without any text are passed over."""
        if name.lower().endswith(".txt"):
            found = self.records_of(data, name, options, Place())
        else:
            _check(options)
            found = [record for record in _rows(_decode(data, name), name, options) if record.data]
        if not found:
            raise DataError("it holds no text", where=name, mend="leave it out")
        return found

    def divides(self, name: str, options: Mapping[str, str]) -> bool:
        """Whether it is a ``.txt`` of several documents."""
        _check(options)
        return name.lower().endswith(".txt") and options.get("split") != "file"

    def cut(self, window: bytes, options: Mapping[str, str]) -> int:
        """After the last line, or after the last blank line, whatever parts documents."""
        end = window.rfind(b"\n")
        if options.get("split") == "line":
            return end + 1
        while end >= 0:
            before = window.rfind(b"\n", 0, end)
            if before >= 0 and not window[before + 1 : end].strip():
                return end + 1
            end = before
        return 0

    def records_of(self, data: bytes, name: str, options: Mapping[str, str], begin: Place) -> list[Record]:
        """The documents of a piece of a ``.txt``; those without any text are passed over."""
        _check(options)
        documents = _documents(_decode(data, name, begin.offset), options.get("split", "blank"), begin.line)
        found = (_record(document, f"{name}:{line}", {}) for line, document in documents)
        return [record for record in found if record.data]

    def describe(self, record: Record) -> str:
        text = " ".join(record.data.decode(errors="replace").split())
        shown = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
        return f"{super().describe(record)}  {shown}"


def _check(options: Mapping[str, str]) -> None:
    for option, value in options.items():
        if option not in OPTIONS:
            raise SpecError(
                f"text has no option {option!r}", where=f"--option {option}=…", mend=did_you_mean(option, OPTIONS)
            )
        choices = {"split": SPLITS, "header": ("yes", "no")}.get(option)
        if choices is not None and value not in choices:
            raise SpecError(
                f"the option {option} must be one of {', '.join(choices)}, got {value!r}", where=f"--option {option}"
            )


def _decode(data: bytes, name: str, offset: int = 0) -> str:
    """The text of a file, or of a piece of it that begins at ``offset`` bytes."""
    try:
        text = data.decode("utf-8" if offset else "utf-8-sig")
    except UnicodeDecodeError as error:
        mark = len(data) - len(error.object)  # a byte order mark is taken off before
        raise DataError(
            f"it is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {offset + mark + error.start}",
            where=name,
            mend=f"convert it, for instance `iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8.txt`",
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _documents(text: str, split: str, line: int) -> Iterator[tuple[int, str]]:
    """Each document with the number of its first line; the text begins with line number ``line``."""
    pattern = {"file": r"\Z", "line": r"\n|\Z", "blank": r"\n(?:[^\S\n]*\n)+|\Z"}[split]
    start = 0
    for gap in re.finditer(pattern, text):
        document = text[start : gap.start()]
        blank = document[: len(document) - len(document.lstrip())].count("\n")  # at the beginning of a file
        yield line + blank, document
        line += text.count("\n", start, gap.end())
        start = gap.end()


def _rows(text: str, name: str, options: Mapping[str, str]) -> Iterator[Record]:
    rows = _table(text, name)
    columns = {"text": options.get("text", "1")}
    if "label" in options:
        columns["label"] = options["label"]
    columns |= {field: field for field in options.get("fields", "").split(",") if field}
    named = any(not column.isdigit() for column in columns.values())
    places = {field: int(column) - 1 for field, column in columns.items() if column.isdigit()}
    if options.get("header", "yes" if named else "no") == "yes":
        _, header = next(rows, (1, []))
        for field, column in columns.items():
            if field not in places:
                if column not in header:
                    raise DataError(f"it has no column {column!r}", where=name, mend=did_you_mean(column, header))
                places[field] = header.index(column)
    for line, row in rows:
        if max(places.values()) >= len(row) or min(places.values()) < 0:
            raise DataError(
                f"line {line} has {len(row)} columns, and column {max(places.values()) + 1} is asked for",
                where=name,
                mend="name the columns as they are: --option text=… --option label=…, by name or by number from 1",
            )
        fields = {field: row[place].strip() for field, place in places.items() if field != "text"}
        yield _record(row[places["text"]], f"{name}:{line}", fields)


def _table(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its line. Only ``.csv`` knows quotes."""
    if name.lower().endswith(".tsv"):
        yield from ((line, row.split("\t")) for line, row in enumerate(text.split("\n"), 1) if row.strip())
        return
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # else a text above 128 KB is an error
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        yield from ((reader.line_num, row) for row in reader if any(row))
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} is no CSV: {error}", where=name, mend="mend its quotes") from None


def _record(text: str, name: str, fields: Mapping[str, str]) -> Record:
    data = "\n".join(line.rstrip() for line in text.strip().split("\n")).encode()
    return Record(data=data, length=float(len(data)), name=name, fields=fields)
