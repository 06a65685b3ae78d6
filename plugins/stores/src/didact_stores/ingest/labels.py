"""Labels and other fields of a file, from its path or from the manifest that lists the file."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from typing import Literal

import attrs

from didact.errors import DataError, SpecError
from didact.spec import Spec
from didact_stores.ingest.files import File

LABEL = "label"


@attrs.frozen(kw_only=True)
class Labels(Spec):
    r"""The source of labels and other fields.

    Attributes:
        label_from: ``folder``, the name of the folder that contains a file; ``pattern``, the group ``label`` of the
            pattern; ``column``, a table's column, named by the medium's option ``label``; ``none``, no label; None, the
            label that the pattern or the option names.
        pattern: a regular expression that is searched for in a file's path inside the given folder or tar. Its named
            groups become fields: ``(?P<label>\d)_(?P<speaker>[a-z]+)_`` matches ``7_theo_12.wav``. Files that do not
            match are rejected.
        options: the options of the medium, ``name → value``.
    """

    label_from: Literal["folder", "pattern", "column", "none"] | None = None
    pattern: str | None = None
    options: Mapping[str, str] = attrs.field(factory=dict)

    def validate(self) -> None:
        groups: Mapping[str, int] = {}
        if self.pattern is not None:
            try:
                groups = re.compile(self.pattern).groupindex
            except re.error as error:
                raise SpecError(
                    f"--pattern is not a regular expression: {error}",
                    where=f"--pattern {self.pattern!r}",
                    hint=r"write it in Python's syntax and quote it for the shell: '(?P<label>\d)_'",
                ) from None
            if not groups:
                raise SpecError(
                    "--pattern has no named group, so it would give no field",
                    where=f"--pattern {self.pattern!r}",
                    hint="name its group: (?P<label>…)",
                )
        if self.label_from == "pattern" and LABEL not in groups:
            raise SpecError(
                "--label-from pattern needs a group called label in --pattern",
                where=f"--pattern {self.pattern!r}",
                hint="name the part of the path that is the label: (?P<label>…)",
            )
        if self.label_from == "column" and LABEL not in self.options:
            raise SpecError(
                "--label-from column needs the name of the column",
                where="--label-from column",
                hint="give its name, or its number from 1: --option label=COLUMN",
            )
        givers = [("a folder", self.label_from == "folder"), ("the pattern", LABEL in groups)]
        givers = [giver for giver in (*givers, ("a column", LABEL in self.options)) if giver[1]]
        if len(givers) > 1 and self.label_from != "none":
            raise SpecError(
                f"the label would come from {' and from '.join(name for name, _ in givers)}",
                where="--label-from",
                hint="choose one, and rename the other field",
            )

    def fields(self, file: File) -> dict[str, str]:
        """Reads the fields of a file from its path or from the manifest that lists the file.

        Raises:
            DataError: the path does not match the pattern, or contains no folder for a label.
        """
        fields = file.listed
        if self.pattern is not None:
            match = re.search(self.pattern, file.inside)
            if match is None:
                raise DataError(f"the pattern {self.pattern!r} does not match {file.inside!r}", where=file.name)
            fields |= {name: value for name, value in match.groupdict().items() if value is not None}
        if self.label_from == "folder":
            folder = posixpath.dirname(file.inside) if file.member else os.path.dirname(os.path.abspath(file.path))
            if not os.path.basename(folder):
                raise DataError("it is in no folder that could be its label", where=file.name)
            fields[LABEL] = os.path.basename(folder)
        return fields

    def joined(self, known: Mapping[str, str], said: Mapping[str, str]) -> dict[str, str]:
        """Combines a record's fields: those of its medium, overridden by the given ones."""
        fields = {**known, **said}
        if self.label_from == "none":
            fields.pop(LABEL, None)
        return fields
