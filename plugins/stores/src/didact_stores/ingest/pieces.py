"""Splits large files into pieces, so that no file is in memory as a whole."""

from __future__ import annotations

import abc
import gzip
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, cast

import attrs

from didact.errors import DataError
from didact_stores.ingest.files import UNREADABLE, File, Piece, Place
from didact_stores.ingest.labels import Labels
from didact_stores.media import Medium, Record

WHOLE_BYTES = 32 << 20  # larger files are read in pieces
PACKED = ".gz"
PACKED_BYTES = 1 << 20  # larger packed files are read in pieces; unpacking makes them ten to thirty times larger
PIECE_BYTES = 4 << 20  # the records of a piece take several times as much memory, per worker and until they are written


class Divisible(Medium):
    """A medium whose large files can be read in pieces of whole lines."""

    @abc.abstractmethod
    def divides(self, name: str, options: Mapping[str, str]) -> bool:
        """Whether a file of this name can be read in pieces; pieces of a ``.gz`` file are of its unpacked content."""

    @abc.abstractmethod
    def cut(self, window: bytes, name: str, options: Mapping[str, str]) -> int:
        """Finds where to cut a file so that the pieces give the same records as the whole file.

        Args:
            window: a part of the unpacked file, from its beginning or from the last cut.
            name: the name of the file.
            options: as in `records`.

        Returns:
            The number of bytes up to the last possible cut in the window, which follows a line feed; 0 if there is
            none.
        """

    @abc.abstractmethod
    def records_of(self, data: bytes, name: str, options: Mapping[str, str], begin: Place) -> list[Record]:
        """Converts a piece to records as `records` does for a file; the piece may contain no record.

        Args:
            data: the unpacked bytes of the piece.
            name: the name of the file.
            options: as in `records`.
            begin: the beginning of the piece, for names and messages that state a place in the file.

        Raises:
            DataError: the piece cannot be read; the piece is skipped and listed with this reason.
        """


def divided(files: Iterable[File], medium: type[Medium], labels: Labels, begin: Place | None = None) -> Iterator[File]:
    """Yields the files; large files of a divisible medium are yielded in pieces.

    Args:
        files: the files, in order.
        medium: the medium of the files.
        labels: has the medium's options.
        begin: the place in the first file at which to begin.
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
        labels.fields(file)  # rejects the whole file once, not each piece
        packed = _is_packed(file)
        with cast("IO[bytes]", gzip.open(file.path)) if packed else open(file.path, "rb") as stream:
            stream.seek(begin.offset)  # a packed file is unpacked up to this place
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
        rest = f"; the rest after its first {begin.offset:,} bytes is left out" if begin.offset else ""
        yield attrs.evolve(file, failure=reason + rest)


def _cuts(stream: IO[bytes], medium: Divisible, name: str, options: Mapping[str, str]) -> Iterator[tuple[bytes, bool]]:
    """Yields the pieces of the rest of a file, each with whether it is the last. Reads only forwards."""
    window, ended = b"", False
    while not ended:
        cut = 0
        while not cut and not ended:
            # doubled if one record is larger than a piece, so that the search is not repeated often
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
