"""The contract of a medium: a kind of file that ``didact ingest`` turns into records."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar

import attrs

from didact.errors import SpecError, did_you_mean


@attrs.frozen(kw_only=True, eq=False)
class Record:
    """One sample to write into a store.

    Attributes:
        data: the file's own compressed bytes, unchanged; text as UTF-8.
        length: the length in the medium's unit.
        fields: the known properties: ``label``, and fields from a file-name pattern or a column.
        name: the name of its file, with the sample's place in the file.
        suspect: why a readable record is suspicious, as an adjective: ``silent``. The record is kept and the reason
            becomes its field ``suspect``. The summary of the ingestion reports it, and a source excludes such records
            with ``where="suspect != silent"``. Empty for nearly all records.
        fault: why the record must be skipped although the rest of its file is readable, such as a malformed row. The
            record is listed by name among the rejected files. Empty for all records that are kept.
    """

    data: bytes
    length: float
    name: str
    fields: Mapping[str, str] = attrs.field(factory=dict)
    suspect: str = ""
    fault: str = ""


class Medium(abc.ABC):
    """A kind of file that ``didact ingest`` reads.

    Class attributes:
        kind: the name of the medium in the store and on the command line, in plural: ``images``.
        unit: the unit of a record's length.
        suffixes: the lower-case suffixes of the files that it reads, with the dot; other files are skipped.
        options: the names that ``--option name=value`` accepts, each with its allowed values. An empty tuple allows any
            value. Empty for a medium without options.
    """

    kind: ClassVar[str]
    unit: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def check_options(self, options: Mapping[str, str]) -> None:
        """Checks the options once, before any file is listed or read and before the store is created.

        The default compares the options with `options`; an override that checks more should call it first.

        Args:
            options: the options of the command line, ``--option name=value``.

        Raises:
            SpecError: an option is unknown, or its value is not allowed.
        """
        for name, value in options.items():
            if name not in self.options:
                known = f", only {', '.join(sorted(self.options))}" if self.options else "; it has none"
                raise SpecError(
                    f"`didact ingest {self.kind}` has no option {name!r}{known}",
                    where=f"--option {name}={value}",
                    hint=did_you_mean(name, self.options) if self.options else "leave out --option",
                )
            choices = self.options[name]
            if choices and value not in choices:
                raise SpecError(
                    f"the option {name} must be one of {', '.join(choices)}, got {value!r}",
                    where=f"--option {name}={value}",
                    hint=did_you_mean(value, choices),
                )

    @abc.abstractmethod
    def records(self, data: bytes, name: str, options: Mapping[str, str]) -> list[Record]:
        """Checks one file and splits it into records. This method runs in a worker process.

        Args:
            data: the bytes of the file.
            name: the name of the file, for messages.
            options: the options of the command line, ``--option name=value``, checked by `check_options`.

        Returns:
            The records. A part that must be skipped has a `Record.fault`; a suspicious part has a `Record.suspect`.

        Raises:
            DataError: the file cannot be read; it is skipped and listed with this reason.
        """

    def describe(self, record: Record) -> str:
        """Describes a record in one line, for ``didact inspect``."""
        return f"{record.name}  {record.length:g} {self.unit}"
