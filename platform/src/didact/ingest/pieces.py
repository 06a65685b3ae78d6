"""Large files in pieces, so that none of them ever lies in memory as a whole."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

import attrs

from didact.contracts import Medium, Record
from didact.errors import DataError
from didact.ingest.files import UNREADABLE, File, Piece, Place
from didact.ingest.labels import Labels

WHOLE_BYTES = 32 << 20  # of the largest file that is read as one
PIECE_BYTES = 4 << 20  # its records take several times as much, in every worker and while they wait to be written


class Divisible(Medium):
    """A medium whose large files can be read in pieces of whole lines."""

    @abc.abstractmethod
    def divides(self, name: str, options: Mapping[str, str]) -> bool:
        """Whether a file of this name can be read in pieces.

        Raises:
            SpecError: there is no such option.
        """

    @abc.abstractmethod
    def cut(self, window: bytes, options: Mapping[str, str]) -> int:
        """Where to cut a file, so that its pieces give the same records as the whole.

        Args:
            window: a part of the file, from its beginning or from the last cut.
            options: as in `records`.

        Returns:
            Bytes up to the last place in the window that is right, which is after a line feed; 0 where there is none.
        """

    @abc.abstractmethod
    def records_of(self, data: bytes, name: str, options: Mapping[str, str], begin: Place) -> list[Record]:
        """As `records`, for a piece, in which there may be none.

        Args:
            data: the piece's bytes.
            name: of the file.
            options: as in `records`.
            begin: where the piece begins: names and messages say where things are in the file.

        Raises:
            DataError: the piece cannot be read; it is listed with this reason and skipped.
        """


def divided(files: Iterable[File], medium: type[Medium], labels: Labels, begin: Place | None = None) -> Iterator[File]:
    """The files, each large one in pieces where its medium can read those.

    Args:
        files: in order.
        medium: whose files they are.
        labels: what is known of them besides; its options are the medium's.
        begin: where to begin in the first of them.

    Raises:
        SpecError: the medium does not know an option.
    """
    begin = begin or Place()
    known = medium()
    for file in files:
        large = file.size > WHOLE_BYTES or begin.offset > 0
        if isinstance(known, Divisible) and large and not file.member and known.divides(file.name, labels.options):
            yield from _pieces(file, known, labels, begin)
        else:
            yield file
        begin = Place()


def _pieces(file: File, medium: Divisible, labels: Labels, begin: Place) -> Iterator[File]:
    try:
        if file.failure:
            raise DataError(file.failure)
        labels.fields(file)  # one reason for the whole file, and not one for every piece
        with open(file.path, "rb") as stream:
            left = os.fstat(stream.fileno()).st_size - begin.offset
            while True:
                stream.seek(begin.offset)
                data = _piece(stream, medium, labels.options, left)
                left -= len(data)
                lines = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
                end = Place(offset=begin.offset + len(data), line=begin.line + lines) if data and left > 0 else None
                yield attrs.evolve(file, size=len(data), piece=Piece(begin=begin, end=end))
                if end is None:
                    return
                begin = end
    except DataError as error:
        yield attrs.evolve(file, failure=error.what)
    except UNREADABLE as error:
        yield attrs.evolve(file, failure=f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _piece(stream: IO[bytes], medium: Divisible, options: Mapping[str, str], left: int) -> bytes:
    """The next bytes, up to a place to cut: of a record that is larger than a piece, as much as it takes."""
    window = stream.read(PIECE_BYTES)
    while len(window) < left:
        cut = medium.cut(window, options)
        if cut:
            return window[:cut]
        more = stream.read(len(window))  # twice as much each time: the search does not begin anew too often
        if not more:
            break
        window += more
    return window
