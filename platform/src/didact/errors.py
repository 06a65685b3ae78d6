"""Errors that a user can fix. Each message states what is wrong, where, and how to fix it."""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
from collections.abc import Iterable, Iterator


class DidactError(Exception):
    """An error that a user can fix.

    The command line prints the message without a traceback and exits with code 1. Code closer to the user (the loader
    of experiments, ``--set``, ingestion) adds locations with `at`.

    Attributes:
        what: what is wrong, in the user's terms.
        where: the file, field, plugin or sample that the error is about; empty if it is not known yet. `inside` defines
            how a field is named.
        hint: how to fix the error; empty if there is no useful advice.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what, self.where, self.hint = what, where, hint

    def __reduce__(self) -> tuple[object, ...]:
        return functools.partial(type(self), where=self.where, hint=self.hint), (self.what,)

    def at(self, where: str) -> DidactError:
        """Returns a copy of the error with ``where`` put before its location; the outermost location comes first."""
        return type(self)(self.what, where=f"{where}, {self.where}" if self.where else where, hint=self.hint)

    def __str__(self) -> str:
        where = f"\n  where: {self.where}" if self.where else ""
        return self.what + where + (f"\n  hint:  {self.hint}" if self.hint else "")


class SpecError(DidactError):
    """A spec's field is misspelt, of the wrong type, out of range, or does not fit the other parts."""


class PluginError(DidactError):
    """A plugin is missing, does not import, clashes with another, or violates its contract."""


class DataError(DidactError):
    """A store, a file or a sample cannot be used."""


class RunError(DidactError):
    """A run's folder or checkpoint cannot be used, or its training cannot continue."""


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Returns a hint that suggests the closest of ``words``, or lists all of them if none is close."""
    known = sorted(words)
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(known)}" if known else "none is known"


def inside(field: str, where: str) -> str:
    """Returns a location relative to the enclosing part: ``ratio`` inside ``masker`` is ``masker.ratio``.

    A part names its own fields relative to itself. Names of other parts' fields start at the experiment, such as
    ``experiment.encoder.max_tokens``, and are returned unchanged. Other locations, such as a file, follow after a
    comma. Either argument may be empty.
    """
    if not field or not where or where.startswith("experiment."):
        return where or field
    return f"{field}.{where}" if re.fullmatch(r"[\w-]+(\.[\w-]+)*", where) else f"{field}, {where}"


@contextlib.contextmanager
def of_field(field: str) -> Iterator[None]:
    """Adds a field of the experiment to the location of errors raised inside the ``with`` block; see `inside`."""
    try:
        yield
    except SpecError as error:
        raise SpecError(error.what, where=inside(field, error.where), hint=error.hint) from None
    except DidactError as error:  # about a file or a sample
        raise error.at(field) from None
