"""Large files in pieces, so that none of them ever lies in memory as a whole."""

from __future__ import annotations

import abc
import gzip
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, cast

import attrs

from didact.contracts import Medium, Record
from didact.errors import DataError
from didact.ingest.files import UNREADABLE, File, Piece, Place
from didact.ingest.labels import Labels

WHOLE_BYTES = 32 << 20  # of the largest file that is read as one
PACKED = ".gz"
PACKED_BYTES = 1 << 20  # of the largest packed file that is read as one: unpacked it is ten to thirty times as large
PIECE_BYTES = 4 << 20  # its records take several times as much, in every worker and while they wait to be written


class Divisible(Medium):
    """A medium whose large files can be read in pieces of whole lines."""

    @abc.abstractmethod
    def divides(self, name: str, options: Mapping[str, str]) -> bool:
        """Whether a file of this name can be read in pieces. Where it ends in ``.gz``, those are of what is packed."""

    @abc.abstractmethod
    def cut(self, window: bytes, name: str, options: Mapping[str, str]) -> int:
        """Where to cut a file, so that its pieces give the same records as the whole.

        Args:
            window: a part of the file, from its beginning or from the last cut; unpacked.
            name: of the file.
            options: as in `records`.

        Returns:
            Bytes up to the last place in the window that is right, which is after a line feed; 0 where there is none.
        """

    @abc.abstractmethod
    def records_of(self, data: bytes, name: str, options: Mapping[str, str], begin: Place) -> list[Record]:
        """As `records`, for a piece, in which there may be none.

        Args:
            data: the piece's bytes, unpacked.
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
    """
    begin = begin or Place()
    known = medium()
    for file in files:
        large = file.size > (PACKED_BYTES if _is_packed(file) else WHOLE_BYTES) or begin.offset > 0
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
        packed = _is_packed(file)
        with cast("IO[bytes]", gzip.open(file.path)) if packed else open(file.path, "rb") as stream:
            stream.seek(begin.offset)  # a packed file is unpacked up to there
            for data, last in _cuts(stream, medium, file.name, labels.options):
                lines = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
                end = None if last else Place(offset=begin.offset + len(data), line=begin.line + lines)
                piece = Piece(begin=begin, end=end, content=data if packed else None)
                yield attrs.evolve(file, size=len(data), piece=piece)
                begin = end or begin
    except DataError as error:
        yield attrs.evolve(file, failure=error.what)
    except UNREADABLE as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        rest = f"; what follows its first {begin.offset:,} bytes is left out" if begin.offset else ""
        yield attrs.evolve(file, failure=reason + rest)


def _cuts(stream: IO[bytes], medium: Divisible, name: str, options: Mapping[str, str]) -> Iterator[tuple[bytes, bool]]:
    """What is left of a file, in pieces, each with whether it is the last. Reads forwards alone."""
    window, ended = b"", False
    while not ended:
        cut = 0
        while not cut and not ended:
            # of a record that is larger than a piece, twice as much each time: the search does not begin anew too often
            wanted = PIECE_BYTES - len(window) if len(window) < PIECE_BYTES else len(window)
            more = stream.read(wanted)
            ended = len(more) < wanted
            window += more
            cut = len(window) if ended else medium.cut(window, name, options)
        data, window = window[:cut], window[cut:]
        if not window and not ended:
            window = stream.read(1)
            ended = not window
        yield data, ended


def _is_packed(file: File) -> bool:
    return file.inside.lower().endswith(PACKED)
