"""A medium that stores each file in another coding.

breaks: reading
"""

from __future__ import annotations

import zlib

from didact import hookimpl
from didact.errors import DataError
from didact_kit import Example
from didact_stores import Medium, Record


class RecodingMedium(Medium):
    """Compressed files."""

    kind = "packed"
    unit = "bytes"
    suffixes = (".z",)

    def records(self, data, name, options):
        try:
            content = zlib.decompress(data)
        except zlib.error as error:
            raise DataError(f"{name} cannot be read: {error}", where=name, hint="compress it again") from error
        return [Record(data=zlib.compress(content, 1), length=float(len(content)), name=name)]


@hookimpl
def didact_components():
    return {"it": RecodingMedium}


def examples(folder):
    return {"it": [Example(spec=RecodingMedium(), good={"a.z": zlib.compress(b"abc" * 99, 9)}, bad={"b.z": b"abc"})]}


@hookimpl
def didact_examples():
    return examples
