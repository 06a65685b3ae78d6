"""Large files in pieces, so that no file is in memory as a whole."""

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
PACKED_BYTES = 1 << 20  # larger packed files are read in pieces; unpacked they are ten to thirty times as large
PIECE_BYTES = 4 << 20  # its records take several times as much memory, in every worker and before they are written


class Divisible(Medium):
    """A medium whose large files can be read in pieces of whole lines."""

    @abc.abstractmethod
    def divides(self, name: str, options: Mapping[str, str]) -> bool:
        """Whether a file of this name can be read in pieces; those of a ``.gz`` file are of its unpacked content."""

    @abc.abstractmethod
    def cut(self, window: bytes, name: str, options: Mapping[str, str]) -> int:
        """Finds where to cut a file so that its pieces give the same records as the whole.

        Args:
            window: a part of the file, from its beginning or from the last cut; unpacked.
            name: of the file.
            options: as in `records`.

        Returns:
            The number of bytes up to the last possible cut in the window, which follows a line feed; 0 without one.
        """

    @abc.abstractmethod
    def records_of(self, data: bytes, name: str, options: Mapping[str, str], begin: Place) -> list[Record]:
        """As `records`, for a piece, which may have no record.

        Args:
            data: the piece's bytes, unpacked.
            name: of the file.
            options: as in `records`.
            begin: the beginning of the piece, for names and messages that give places in the file.

        Raises:
            DataError: the piece cannot be read; it is skipped and listed with this reason.
        """


def divided(files: Iterable[File], medium: type[Medium], labels: Labels, begin: Place | None = None) -> Iterator[File]:
    """The files, large ones in pieces if their medium is divisible.

    Args:
        files: in order.
        medium: of the files.
        labels: hold the medium's options.
        begin: where to begin in the first file.
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
        labels.fields(file)  # reject the whole file once, not every piece of it
        packed = _is_packed(file)
        with cast("IO[bytes]", gzip.open(file.path)) if packed else open(file.path, "rb") as stream:
            stream.seek(begin.offset)  # unpacks a packed file up to there
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
    """The pieces of the rest of a file, each with whether it is the last. Reads only forwards."""
    window, ended = b"", False
    while not ended:
        cut = 0
        while not cut and not ended:
            # doubled for a record that is larger than a piece, so that the search is not repeated too often
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
