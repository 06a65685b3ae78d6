"""What a file's path, or the manifest that lists it, says about it: its label, and other fields."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from typing import Literal

import attrs

from didact.errors import DataError, SpecError
from didact.ingest.files import File
from didact.spec import Spec

LABEL = "label"


@attrs.frozen(kw_only=True)
class Labels(Spec):
    r"""Where labels and other fields come from.

    Attributes:
        label_from: ``folder``, the name of the folder that a file lies in; ``pattern``, the pattern's group ``label``;
            ``column``, a table's column, named by the medium's option ``label``; ``none``, no label whatever else is
            said; None, what the pattern or the option names.
        pattern: a regular expression, searched for in a file's path inside the folder or tar that was given; its named
            groups become fields: ``(?P<label>\d)_(?P<speaker>[a-z]+)_`` reads ``7_theo_12.wav``. A file that it does
            not fit is rejected.
        options: of the medium, ``name → value``.
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
                    f"--pattern is no regular expression: {error}",
                    where=f"--pattern {self.pattern!r}",
                    mend=r"it is one of Python's; quote it for the shell: '(?P<label>\d)_'",
                ) from None
            if not groups:
                raise SpecError(
                    "--pattern has no named group, so it would say nothing",
                    where=f"--pattern {self.pattern!r}",
                    mend="name what it finds: (?P<label>…)",
                )
        if self.label_from == "pattern" and LABEL not in groups:
            raise SpecError(
                "labels are asked for from the pattern, but it has no group called label",
                where=f"--pattern {self.pattern!r}",
                mend="name the part of the path that is the label: (?P<label>…)",
            )
        if self.label_from == "column" and LABEL not in self.options:
            raise SpecError(
                "labels are asked for from a column, but none is named",
                where="--label-from column",
                mend="name it, or give its number from 1: --option label=COLUMN",
            )
        givers = [("a folder", self.label_from == "folder"), ("the pattern", LABEL in groups)]
        givers = [giver for giver in (*givers, ("a column", LABEL in self.options)) if giver[1]]
        if len(givers) > 1 and self.label_from != "none":
            raise SpecError(
                f"the label would come from {' and from '.join(name for name, _ in givers)}",
                where="--label-from",
                mend="ask for one, and call the other field something else",
            )

    def fields(self, file: File) -> dict[str, str]:
        """What the path of ``file`` says, or the manifest that lists it.

        Raises:
            DataError: the path says nothing, though it should.
        """
        fields = file.listed
        if self.pattern is not None:
            match = re.search(self.pattern, file.inside)
            if match is None:
                raise DataError(f"the pattern {self.pattern!r} does not fit {file.inside!r}", where=file.name)
            fields |= {name: value for name, value in match.groupdict().items() if value is not None}
        if self.label_from == "folder":
            folder = posixpath.dirname(file.inside) if file.member else os.path.dirname(os.path.abspath(file.path))
            if not os.path.basename(folder):
                raise DataError("it lies in no folder that could be its label", where=file.name)
            fields[LABEL] = os.path.basename(folder)
        return fields

    def joined(self, known: Mapping[str, str], said: Mapping[str, str]) -> dict[str, str]:
        """A record's fields: what its medium knows, and what `fields` says, which wins."""
        fields = {**known, **said}
        if self.label_from == "none":
            fields.pop(LABEL, None)
        return fields
