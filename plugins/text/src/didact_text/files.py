"""Text files for ``didact ingest``: plain text, tables of which a column is text, and JSON of which a field is."""

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

from didact import DataError, Record, SpecError
from didact.errors import did_you_mean
from didact.ingest import Divisible, Place

SPLITS = ("blank", "line", "file")
FORMS = (".txt", ".tsv", ".csv", ".jsonl")
PACKED = ".gz"
SHOWN_CHARACTERS = 60


class TextFiles(Divisible):
    """``.txt``: documents; ``.tsv`` and ``.csv``: one document a row; ``.jsonl``: one a line. UTF-8, and nothing else.

    Each may be packed with gzip: ``.txt.gz``. A large ``.txt`` or ``.jsonl`` is read in pieces, unless the whole of it
    is one document. A row or line that cannot be taken is listed and skipped; where there are no others, the file is.

    Options:
        split: of a ``.txt``. ``blank`` (the default): documents are parted by blank lines, so a paragraph or a
            WikiText heading such as ``= Homarus gammarus =`` between blank lines is a document of its own. ``line``:
            every line is one. ``file``: the whole file is.
        text: what holds the text. In a table a column; its name, or its number from 1; 1 by default. In a ``.jsonl``
            a field of each line's object; ``text`` by default.
        label: the column or field that becomes the field ``label``. Default: none.
        fields: further columns or fields that become fields of their names, with commas between them. In a ``.jsonl``,
            ``null`` gives no field.
        header: of a table, ``yes`` or ``no``; whether the first row names the columns. Default: ``yes`` if any column
            is given by name, else ``no``.
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
        """Which there are, and that those which name columns name different ones."""
        super().check_options(options)
        for option in ("text", "label", "fields"):
            if option in options and not options[option].strip(" ,"):
                raise SpecError(f"the option {option} names nothing", where=f"--option {option}=", mend="leave it out")
        taken = {"text", *(option for option in ("label",) if option in options)}
        twice = sorted(taken & set(_listed(options)))
        if twice:
            raise SpecError(
                f"the option fields would give {twice[0]} another meaning",
                where=f"--option fields={options['fields']}",
                mend=f"leave {twice[0]} out of it: the option {twice[0]} says which that is",
            )

    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        """The documents of a file; those without any text are passed over."""
        data = _unpacked(data, name)
        if _form(name) in (".txt", ".jsonl"):
            found = self.records_of(data, name, options, Place())
        else:
            found = _with_text(_rows(_decode(data, name), name, options))
        if not found:
            raise DataError("it holds no text", where=name, mend="leave it out")
        return found

    def divides(self, name: str, options: Mapping[str, str]) -> bool:
        """Whether it is a ``.jsonl``, or a ``.txt`` of several documents."""
        return _form(name) == ".jsonl" or (_form(name) == ".txt" and options.get("split") != "file")

    def cut(self, window: bytes, name: str, options: Mapping[str, str]) -> int:
        """After the last line, or after the last blank line, whatever parts documents."""
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
        """The documents of a piece of a ``.txt`` or ``.jsonl``; those without any text are passed over."""
        if _form(name) == ".jsonl":
            return _with_text(_objects(data, name, options, begin))
        documents = _documents(_decode(data, name, begin.offset), options.get("split", "blank"), begin.line)
        return _with_text(_record(document, f"{name}:{line}", {}) for line, document in documents)

    def describe(self, record: Record) -> str:
        text = " ".join(record.data.decode(errors="replace").split())
        shown = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
        return f"{super().describe(record)}  {shown}"


def _form(name: str) -> str:
    """The suffix of a file, without that of its packing."""
    return os.path.splitext(name.lower().removesuffix(PACKED))[1]


def _unpacked(data: bytes, name: str) -> bytes:
    if not name.lower().endswith(PACKED):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"it cannot be unpacked: {error}", where=name, mend="fetch it again, or leave it out") from None


def _with_text(found: Iterable[Record]) -> list[Record]:
    """The records that hold text and those that cannot be taken.

    Raises:
        DataError: there are only such that cannot be taken: one reason for the file, and not one for every row.
    """
    records = [record for record in found if record.data or record.fault]
    if records and all(record.fault for record in records):
        ((reason, _),) = Counter(record.fault for record in records).most_common(1)  # not one odd row's, at the top
        others = f"; none of its {len(records):,} rows can be taken" if len(records) > 1 else ""
        raise DataError(
            reason + others,
            where=next(record.name for record in records if record.fault == reason),
            mend="name columns or fields as they are: --option text=… --option label=…",
        )
    return records


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


def _columns(options: Mapping[str, str], text: str) -> dict[str, str]:
    """Which column or field becomes what; ``text`` is the one that is text by default."""
    columns = {"text": options.get("text", text)}
    if "label" in options:
        columns["label"] = options["label"]
    return columns | {field: field for field in _listed(options)}


def _listed(options: Mapping[str, str]) -> list[str]:
    return [field for field in options.get("fields", "").split(",") if field]


def _objects(data: bytes, name: str, options: Mapping[str, str], begin: Place) -> Iterator[Record]:
    """A record of every line that is not blank; ``data`` begins at ``begin``."""
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
        raise DataError(f"it is no JSON: {error.msg.removesuffix(' at')} at character {error.colno}") from None
    except (ValueError, RecursionError) as error:  # a number of too many digits; brackets nested too deep
        raise DataError(f"it is no JSON that can be read: {error}") from None
    if not isinstance(values, dict):
        raise DataError(f"it is {_json_type(values)}, and no object such as {{{json.dumps(columns['text'])}: …}}")
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
        raise DataError("it holds half of a surrogate pair, such as \\ud83d, which is no text") from None
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
                    raise DataError(f"it has no column {column!r}", where=name, mend=did_you_mean(column, header))
                places[field] = header.index(column)
    for line, row in rows:
        if max(places.values()) >= len(row) or min(places.values()) < 0:
            fault = f"line {line} has {len(row)} columns, and column {max(places.values()) + 1} is asked for"
            yield _faulty(f"{name}:{line}", fault)
            continue
        fields = {field: row[place].strip() for field, place in places.items() if field != "text"}
        yield _record(row[places["text"]], f"{name}:{line}", fields)


def _table(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its line. Only ``.csv`` knows quotes."""
    if _form(name) == ".tsv":
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
