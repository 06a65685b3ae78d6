"""Text files for ``didact ingest text``: plain text, and tables and JSON Lines with a column or field of text."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from didact import DataError, SpecError
from didact.errors import did_you_mean
from didact_stores import Record
from didact_stores.ingest import Divisible, Place

SPLITS = ("blank", "line", "file")
FORMS = (".txt", ".tsv", ".csv", ".jsonl")
PACKED = ".gz"
SHOWN_CHARACTERS = 60


class TextFiles(Divisible):
    """Text files in UTF-8: ``.txt``, ``.tsv`` and ``.csv`` with a document per row, ``.jsonl`` with one per line.

    Files may be compressed with gzip, such as ``.txt.gz``. A large ``.txt`` or ``.jsonl`` is read in pieces, unless it
    is a single document. An unreadable row or line is listed and skipped, and so is a file without any readable row.

    Options:
        split: how a ``.txt`` is divided. ``blank`` (the default): blank lines separate documents, so a paragraph or a
            WikiText heading such as ``= Homarus gammarus =`` between blank lines is a document. ``line``: each line is
            a document. ``file``: the whole file is one document.
        text: the column or field with the text. In a table, its name or its number, counted from 1; default 1. In a
            ``.jsonl``, a field of each line's object; default ``text``.
        label: the column or field that becomes the field ``label``. Default: none.
        fields: more columns or fields to keep under their names, separated by commas. In a ``.jsonl``, a value of
            ``null`` gives no field.
        header: whether the first row of a table names the columns, ``yes`` or ``no``. Default: ``yes`` if any column is
            given by name, else ``no``.
    """

    kind: ClassVar[str] = "text"
    unit: ClassVar[str] = "bytes"
    suffixes: ClassVar[tuple[str, ...]] = (*FORMS, *(form + PACKED for form in FORMS))
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "split": SPLITS,
        "text": (),
        "label": (),
        "fields": (),
        "header": ("yes", "no"),
    }

    def check_options(self, options: Mapping[str, str]) -> None:
        """Checks the options: each must be known, and those that name columns must not overlap."""
        super().check_options(options)
        for option in ("text", "label", "fields"):
            if option in options and not options[option].strip(" ,"):
                raise SpecError(f"the option {option} is empty", where=f"--option {option}=", hint="remove the option")
        taken = {"text", *(option for option in ("label",) if option in options)}
        twice = sorted(taken & set(_listed(options)))
        if twice:
            raise SpecError(
                f"the option fields names {twice[0]}, which has an option of its own",
                where=f"--option fields={options['fields']}",
                hint=f"remove {twice[0]} from fields, and use the option {twice[0]}",
            )

    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        """The documents of a file, without empty ones."""
        data = _unpacked(data, name)
        if _form(name) in (".txt", ".jsonl"):
            found = self.records_of(data, name, options, Place())
        else:
            found = _with_text(_rows(_decode(data, name), name, options))
        if not found:
            raise DataError("it has no text", where=name, hint="remove the file")
        return found

    def divides(self, name: str, options: Mapping[str, str]) -> bool:
        """Whether a file can be read in pieces: a ``.jsonl``, or a ``.txt`` of several documents."""
        return _form(name) == ".jsonl" or (_form(name) == ".txt" and options.get("split") != "file")

    def cut(self, window: bytes, name: str, options: Mapping[str, str]) -> int:
        """The offset after the last separator of documents in a window: a line break or a blank line."""
        end = window.rfind(b"\n")
        if _form(name) == ".jsonl" or options.get("split") == "line":
            return end + 1
        while end >= 0:
            before = window.rfind(b"\n", 0, end)
            if before >= 0 and not window[before + 1 : end].strip():
                return end + 1
            end = before
        return 0

    def records_of(self, data: bytes, name: str, options: Mapping[str, str], begin: Place) -> list[Record]:
        """The documents of a piece of a ``.txt`` or ``.jsonl``, without empty ones."""
        if _form(name) == ".jsonl":
            return _with_text(_objects(data, name, options, begin))
        documents = _documents(_decode(data, name, begin.offset), options.get("split", "blank"), begin.line)
        return _with_text(_record(document, f"{name}:{line}", {}) for line, document in documents)

    def describe(self, record: Record) -> str:
        text = " ".join(record.data.decode(errors="replace").split())
        shown = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
        return f"{super().describe(record)}  {shown}"


def _form(name: str) -> str:
    """The suffix of a file's name, without ``.gz``."""
    return os.path.splitext(name.lower().removesuffix(PACKED))[1]


def _unpacked(data: bytes, name: str) -> bytes:
    if not name.lower().endswith(PACKED):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        hint = "copy or download the file again, or remove it"
        raise DataError(f"it cannot be decompressed: {error}", where=name, hint=hint) from None


def _with_text(found: Iterable[Record]) -> list[Record]:
    """The records that have text or a fault.

    Raises:
        DataError: all records have a fault. The message gives the most frequent one for the whole file.
    """
    records = [record for record in found if record.data or record.fault]
    if records and all(record.fault for record in records):
        ((reason, _),) = Counter(record.fault for record in records).most_common(1)  # not the fault of a single row
        others = f"; none of its {len(records):,} rows can be read" if len(records) > 1 else ""
        raise DataError(
            reason + others,
            where=next(record.name for record in records if record.fault == reason),
            hint="give the names of columns or fields: --option text=… --option label=…",
        )
    return records


def _decode(data: bytes, name: str, offset: int = 0) -> str:
    """Decodes a file, or a piece of it that begins at ``offset`` bytes."""
    try:
        text = data.decode("utf-8" if offset else "utf-8-sig")
    except UnicodeDecodeError as error:
        mark = len(data) - len(error.object)  # a byte order mark was removed before
        raise DataError(
            f"it is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {offset + mark + error.start}",
            where=name,
            hint=f"convert it, for instance `iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8.txt`",
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _documents(text: str, split: str, line: int) -> Iterator[tuple[int, str]]:
    """Splits a text that begins at line ``line`` into documents, each with the number of its first line."""
    pattern = {"file": r"\Z", "line": r"\n|\Z", "blank": r"\n(?:[^\S\n]*\n)+|\Z"}[split]
    start = 0
    for gap in re.finditer(pattern, text):
        document = text[start : gap.start()]
        blank = document[: len(document) - len(document.lstrip())].count("\n")  # at the beginning of a file
        yield line + blank, document
        line += text.count("\n", start, gap.end())
        start = gap.end()


def _columns(options: Mapping[str, str], text: str) -> dict[str, str]:
    """Maps fields of a record to columns or fields of the file; ``text`` is the default for the text."""
    columns = {"text": options.get("text", text)}
    if "label" in options:
        columns["label"] = options["label"]
    return columns | {field: field for field in _listed(options)}


def _listed(options: Mapping[str, str]) -> list[str]:
    return [field for field in options.get("fields", "").split(",") if field]


def _objects(data: bytes, name: str, options: Mapping[str, str], begin: Place) -> Iterator[Record]:
    """A record for every line that is not blank; ``data`` begins at ``begin``."""
    columns = _columns(options, "text")
    if begin.offset == 0:
        data = data.removeprefix(codecs.BOM_UTF8)
    lines = io.BytesIO(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    for number, line in enumerate(lines, begin.line):
        if line.strip():
            try:
                yield _object(line.rstrip(b"\n"), f"{name}:{number}", columns)
            except DataError as error:
                yield _faulty(f"{name}:{number}", error.what)


def _object(line: bytes, name: str, columns: Mapping[str, str]) -> Record:
    try:
        values: Any = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise DataError(f"it is not UTF-8: byte 0x{line[error.start]:02x} at byte {error.start + 1} of it") from None
    except json.JSONDecodeError as error:
        raise DataError(f"it is not JSON: {error.msg.removesuffix(' at')} at character {error.colno}") from None
    except (ValueError, RecursionError) as error:  # a number with too many digits, or brackets that are nested too deep
        raise DataError(f"it is JSON that cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise DataError(f"it is {_json_type(values)}, not an object such as {{{json.dumps(columns['text'])}: …}}")
    fields: dict[str, str] = {}
    for field, key in columns.items():
        if key not in values:
            raise DataError(f"it has no field {key!r}; {did_you_mean(key, values)}")
        value = values[key]
        if isinstance(value, list | dict) or (field == "text" and not isinstance(value, str)):
            raise DataError(
                f"its field {key!r} is {_json_type(value)}, not {'text' if field == 'text' else 'one value'}"
            )
        if value is not None:
            fields[field] = value.strip() if isinstance(value, str) else json.dumps(value)
    try:
        "".join(fields.values()).encode()
    except UnicodeEncodeError:
        raise DataError("it contains half of a surrogate pair, such as \\ud83d, which is not text") from None
    return _record(fields.pop("text"), name, fields)


def _json_type(value: Any) -> str:
    words = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return words.get(type(value), "a number")


def _faulty(name: str, fault: str) -> Record:
    return Record(data=b"", length=0.0, name=name, fault=fault)


def _rows(text: str, name: str, options: Mapping[str, str]) -> Iterator[Record]:
    rows = _table(text, name)
    columns = _columns(options, "1")
    named = any(not column.isdigit() for column in columns.values())
    places = {field: int(column) - 1 for field, column in columns.items() if column.isdigit()}
    if options.get("header", "yes" if named else "no") == "yes":
        _, header = next(rows, (1, []))
        for field, column in columns.items():
            if field not in places:
                if column not in header:
                    raise DataError(f"it has no column {column!r}", where=name, hint=did_you_mean(column, header))
                places[field] = header.index(column)
    for line, row in rows:
        if max(places.values()) >= len(row) or min(places.values()) < 0:
            fault = f"line {line} has {len(row)} columns, and column {max(places.values()) + 1} is requested"
            yield _faulty(f"{name}:{line}", fault)
            continue
        fields = {field: row[place].strip() for field, place in places.items() if field != "text"}
        yield _record(row[places["text"]], f"{name}:{line}", fields)


def _table(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its line. Only ``.csv`` has quotes."""
    if _form(name) == ".tsv":
        yield from ((line, row.split("\t")) for line, row in enumerate(text.split("\n"), 1) if row.strip())
        return
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # the default is 128 KB
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        yield from ((reader.line_num, row) for row in reader if any(row))
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} is not CSV: {error}", where=name, hint="correct its quotes") from None


def _record(text: str, name: str, fields: Mapping[str, str]) -> Record:
    data = "\n".join(line.rstrip() for line in text.strip().split("\n")).encode()
    return Record(data=data, length=float(len(data)), name=name, fields=fields)
