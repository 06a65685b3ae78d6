"""What a user can mend, said in one message: what is wrong, where, and how to mend it."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator


class DidactError(Exception):
    """A mistake that a user can mend.

    The command line prints it without a traceback and exits with code 1. Whoever catches it closer to the user
    (the experiment's loader, ``--set``, the ingester) adds what it knows with `at`.

    Attributes:
        what: what is wrong, in the user's terms.
        where: the file, field, plugin or sample that it is about; empty where nobody knows yet. `inside` says how a
            field is named.
        mend: what to do about it; empty where nothing sensible can be said.
    """

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what, where, mend)  # all of it in args, so that the error survives pickling from a worker
        self.what, self.where, self.mend = what, where, mend

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.mend)

    def at(self, where: str) -> DidactError:
        """The same error, told where it happened; the outermost place comes first."""
        return type(self)(self.what, where=f"{where}, {self.where}" if self.where else where, mend=self.mend)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.mend:
            lines.append(f"  mend:  {self.mend}")
        return "\n".join(lines)


class SpecError(DidactError):
    """A spec's field is misspelt, of the wrong type, out of range, or does not fit the parts beside it."""


class PluginError(DidactError):
    """A plugin is missing, does not import, clashes with another, or breaks the contract."""


class DataError(DidactError):
    """A store, a file or a sample cannot be used."""


class RunError(DidactError):
    """A run's folder or checkpoint cannot be used, or its training cannot go on."""


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The nearest of ``words`` as a question, or all of them where none is near."""
    known = sorted(words)
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(known)}" if known else "none is known"


def inside(field: str, where: str) -> str:
    """A place, seen from one part further out: ``ratio`` inside ``masker`` is ``masker.ratio``.

    A part names its own fields as it sees them, and those of other parts from the experiment on, such as
    ``experiment.encoder.max_tokens``, which stay as they are. What is no field, such as a file, follows behind a comma.

    Args:
        field: of the outer part, that holds the one which named the place; may be empty.
        where: the place; may be empty.
    """
    if not field or not where or where.startswith("experiment."):
        return where or field
    return f"{field}.{where}" if re.fullmatch(r"[\w-]+(\.[\w-]+)*", where) else f"{field}, {where}"


@contextlib.contextmanager
def of_field(field: str) -> Iterator[None]:
    """Says of which field of the experiment an error inside the ``with`` is, as `inside` words it."""
    try:
        yield
    except SpecError as error:
        raise SpecError(error.what, where=inside(field, error.where), mend=error.mend) from None
    except DidactError as error:  # of a file or a sample
        raise error.at(field) from None


def _rebuild(cls: type[DidactError], what: str, where: str, mend: str) -> DidactError:
    return cls(what, where=where, mend=mend)
