"""The rules of the contract, the checks that apply them, and the outcomes of checks."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

import attrs
import torch

import didact
from didact.errors import DidactError
from didact_kit.examples import Case

CRASH_HINT = "fix this error first; the rules that meet it are not judged"
OWN = f"{Path(__file__).parent}{os.sep}"
LIBRARIES = tuple(f"{Path(place)}{os.sep}" for place in (*torch.__path__, *didact.__path__))
STANDARD = f"{sysconfig.get_path('stdlib')}{os.sep}"


@attrs.frozen(kw_only=True, eq=False)
class Rule:
    """A rule that every part of some kinds must follow.

    Attributes:
        name: the name of the rule, one word.
        kinds: the kinds of parts that the rule applies to; see `didact_kit.contracts`.
        promise: the rule as a sentence.
        hint: how to fulfil the rule.
        look: the check; raises `AssertionError` with what was seen, or `NotJudged`.
        dear: whether the check takes seconds; it is then applied only to a component's first example.
        first: whether rules that follow cannot be judged on an example that breaks this one.
    """

    name: str
    kinds: tuple[str, ...]
    promise: str
    hint: str
    look: Callable[[Case], None]
    dear: bool = False
    first: bool = False


class NotJudged(Exception):  # noqa: N818 - it is no error
    """The rule does not apply to this part; the message gives the reason."""


class BrokenRule(AssertionError):  # noqa: N818 - an error by its base, a verdict by its name
    """A part that breaks a rule.

    Attributes:
        rule: the rule that is broken.
        component: the registered name of the part, or its class.
        distribution: the distribution of the part, with its version.
        example: the example that breaks the rule.
        seen: a description of what was seen.
    """

    def __init__(self, rule: Rule, case: Case, seen: str, hint: str = "") -> None:
        self.rule, self.component, self.distribution, self.seen = rule, case.name, case.distribution, seen
        self.example = case.example_name
        places = [place for place in (case.distribution, case.place, case.example_name) if place]
        lines = [
            self._headline(),
            f"  seen:  {seen}",
            f"  where: {', '.join(places) or 'unknown'}",
            f"  hint:  {hint or rule.hint}",
        ]
        super().__init__("\n".join(lines))

    def _headline(self) -> str:
        return f"{self.component} breaks the rule {self.rule.name!r}: {self.rule.promise}"


class Crash(BrokenRule):
    """A part that raised an error while a rule was checked, so that neither this rule nor others can be judged.

    Attributes:
        traceback: the traceback of the error, without the kit's own frames; empty for a `DidactError`, which says
            itself what is wrong.
    """

    def __init__(self, rule: Rule, case: Case, error: BaseException) -> None:
        self.traceback = ""
        if isinstance(error, DidactError):
            seen = f"{type(error).__name__}: {' · '.join(filter(None, (error.what, error.where)))}"
            super().__init__(rule, case, seen, error.hint or CRASH_HINT)
            return
        self.traceback = "".join(traceback.format_exception(type(error), error, _foreign(error.__traceback__))).rstrip()
        super().__init__(rule, case, f"{type(error).__name__}: {error} ({_place(error)})", CRASH_HINT)

    def __str__(self) -> str:
        lines = self.traceback.splitlines()
        return "\n".join([super().__str__(), *(f"  {line}" for line in lines)])

    def _headline(self) -> str:
        return f"{self.component} crashed when the rule {self.rule.name!r} was checked"


@attrs.frozen(kw_only=True, eq=False)
class Check:
    """One rule for one example; calling the check applies the rule.

    Attributes:
        case: the example to check.
        rule: the rule to apply.
    """

    case: Case
    rule: Rule

    def __str__(self) -> str:
        number = f"-{self.case.number}" if self.case.number else ""
        return f"{self.case.name}{number}: {self.rule.name}"

    def __call__(self) -> None:
        """Applies the rule to the example; under pytest, a rule that does not apply skips the test.

        Raises:
            BrokenRule: the rule is broken, or the part crashed (`Crash`); the error has what was seen and a hint.
        """
        verdict = self.judge()
        if verdict.broken is not None:
            raise verdict.broken
        if verdict.outcome == "not judged":
            _skip(verdict.says)

    def judge(self) -> Verdict:
        """Applies the rule to the example; every error is converted to a verdict.

        An error that another check of the same component has met is not reported again.
        """
        if self.case.spoilt not in ("", self.rule.name):
            says = f"it is judged when the rule {self.case.spoilt!r} is kept"
            return Verdict(check=self, outcome="not judged", says=says, met=True)
        try:
            with _settings():
                self.rule.look(self.case)
        except NotJudged as reason:
            return Verdict(check=self, outcome="not judged", says=str(reason))
        except (Exception, SystemExit) as error:  # foreign code
            return self._verdict(error)
        return Verdict(check=self, outcome="kept")

    def _verdict(self, error: BaseException) -> Verdict:
        """Distinguishes what a check found from an error of the part, and a new error from one that was met before."""
        if isinstance(error, AssertionError) and _raised_by(error, self.rule.look):
            if error.__cause__ is not None:  # an error of the part, which breaks this rule
                self.case.errors.setdefault(_identity(error.__cause__), (self.rule.name, self.case.number))
            seen = str(error) or f"an assertion failed at {_place(error)}"
            self.case.spoilt = self.rule.name if self.rule.first else self.case.spoilt
            broken = BrokenRule(self.rule, self.case, seen)
            broken.__cause__ = error.__cause__
            return Verdict(check=self, outcome="broken", says=seen, broken=broken)
        mine = (self.rule.name, self.case.number)
        first = self.case.errors.setdefault(_identity(error), mine)
        if first != mine:
            name, number = first
            where = f"{name!r}" if number == self.case.number else f"{name!r} on example {number + 1}"
            return Verdict(check=self, outcome="not judged", says=f"it meets the error of the rule {where}", met=True)
        crash = Crash(self.rule, self.case, error)
        return Verdict(check=self, outcome="crashed", says=crash.seen, broken=crash)


@attrs.frozen(kw_only=True, eq=False)
class Verdict:
    """The outcome of a check.

    Attributes:
        check: the check that was made.
        outcome: ``kept``, ``broken``, ``crashed`` (the part raised an error, so the rule could not be judged), or
            ``not judged``.
        says: a description of what was seen, or why nothing was checked.
        broken: the error, if the rule is broken or the part crashed.
        met: whether the rule was not judged because of an error that another rule reports.
    """

    check: Check
    outcome: Literal["kept", "broken", "crashed", "not judged"]
    says: str = ""
    broken: BrokenRule | None = None
    met: bool = False


def checks(case: Case, rules: Sequence[Rule]) -> Iterator[Check]:
    """Yields the checks of one example: the rules of its kind; slow rules only for a component's first example."""
    for rule in rules:
        if case.kind in rule.kinds and not (rule.dear and case.number):
            yield Check(case=case, rule=rule)


def keep(case: Case, rules: Sequence[Rule]) -> None:
    """Raises `BrokenRule` for the first rule of its kind that an example breaks, or in which it crashes."""
    for check in checks(case, rules):
        verdict = check.judge()
        if verdict.broken is not None:
            raise verdict.broken


def place_of(error: BaseException) -> str:
    """Returns the file and line where an error was raised: the innermost frame of a part, if there is one."""
    return _place(error)


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Computes with one thread: examples are tiny, and on a busy machine several threads wait for each other.

    Settings of the process that a part changes are put back, so that other checks do not meet them.
    """
    threads, gradients, dtype = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(dtype)


def _identity(error: BaseException) -> tuple[str, str]:
    """What two reports of one error share: its type, and its place or, for a `DidactError`, its text."""
    return type(error).__name__, error.what if isinstance(error, DidactError) else _place(error)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    foreign = [frame for frame in frames if not frame.filename.startswith(OWN)]
    found = [frame for frame in foreign if not _in_library(frame.filename)] or foreign
    return f"{Path(found[-1].filename).name}:{found[-1].lineno}" if found else "in the check itself"


def _in_library(file: str) -> bool:
    """Whether a frame of this file does not show where a part fails: a file of PyTorch, of the core, or of Python."""
    return file.startswith(LIBRARIES) or (file.startswith(STANDARD) and "-packages" not in file)


def _raised_by(error: BaseException, look: Callable[[Case], None]) -> bool:
    """Whether an error was raised by a check, not by a part or by a library."""
    frames, file = traceback.extract_tb(error.__traceback__), inspect.unwrap(look).__code__.co_filename
    return bool(frames) and (frames[-1].filename.startswith(OWN) or frames[-1].filename == file)


def _foreign(trace: TracebackType | None) -> TracebackType | None:
    """Leaves out the first frames, which are those of the kit, unless there are no others."""
    last = trace
    while last is not None and last.tb_frame.f_code.co_filename.startswith(OWN):
        last = last.tb_next
    return last if last is not None else trace


def _skip(reason: str) -> None:
    if (pytest := sys.modules.get("pytest")) is not None:  # checks also work without pytest
        pytest.skip(reason)
