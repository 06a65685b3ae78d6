"""The rules of the contract, the checks that apply them, and the outcomes of checks."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import attrs

from didact.errors import DidactError
from didact_kit.examples import Case

CRASH_HINT = "fix this error first; rules that meet it again are not judged"


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
    """

    name: str
    kinds: tuple[str, ...]
    promise: str
    hint: str
    look: Callable[[Case], None]
    dear: bool = False


class NotJudged(Exception):  # noqa: N818 - it is no error
    """The rule does not apply to this part; the message gives the reason."""


class BrokenRule(AssertionError):  # noqa: N818 - an error by its base, a verdict by its name
    """A part that breaks a rule.

    Attributes:
        rule: the rule that is broken.
        component: the registered name of the part, or its class.
        distribution: the distribution of the part, with its version.
        seen: a description of what was seen.
    """

    def __init__(self, rule: Rule, case: Case, seen: str, hint: str = "") -> None:
        self.rule, self.component, self.distribution, self.seen = rule, case.name, case.distribution, seen
        places = [place for place in (case.distribution, case.place) if place]
        lines = [
            f"{case.name} breaks the rule {rule.name!r}: {rule.promise}",
            f"  seen:  {seen}",
            f"  where: {', '.join(places) or 'unknown'}",
            f"  hint:  {hint or rule.hint}",
        ]
        super().__init__("\n".join(lines))


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
            BrokenRule: the rule is broken; the error has what was seen and a hint.
        """
        verdict = self.judge()
        if verdict.broken is not None:
            raise verdict.broken
        if verdict.outcome == "not judged":
            _skip(verdict.says)

    def judge(self) -> Verdict:
        """Applies the rule to the example; every error is converted to a verdict.

        An error that another check of the same component has raised is not reported again.
        """
        hint, cause = "", None
        try:
            self.rule.look(self.case)
        except NotJudged as reason:
            return Verdict(check=self, outcome="not judged", says=str(reason))
        except AssertionError as error:
            seen = str(error) or f"an assertion failed at {_place(error)}"
            return self._broken(BrokenRule(self.rule, self.case, seen))
        except DidactError as error:
            seen = " · ".join(filter(None, (error.what, error.where, error.hint)))
        except Exception as error:  # foreign code
            seen, hint, cause = f"{type(error).__name__}: {error} ({_place(error)})", CRASH_HINT, error
        else:
            return Verdict(check=self, outcome="kept")
        mine = (self.rule.name, self.case.number)
        first = self.case.errors.setdefault(seen, mine)
        if first != mine:
            return Verdict(check=self, outcome="not judged", says=f"it meets the error that breaks {first[0]!r}")
        broken = BrokenRule(self.rule, self.case, seen, hint)
        broken.__cause__ = cause
        return self._broken(broken)

    def _broken(self, broken: BrokenRule) -> Verdict:
        return Verdict(check=self, outcome="broken", says=broken.seen, broken=broken)


@attrs.frozen(kw_only=True, eq=False)
class Verdict:
    """The outcome of a check.

    Attributes:
        check: the check that was made.
        outcome: ``kept``, ``broken`` or ``not judged``.
        says: a description of what was seen, or why nothing was checked.
        broken: the error, if the rule is broken.
    """

    check: Check
    outcome: Literal["kept", "broken", "not judged"]
    says: str = ""
    broken: BrokenRule | None = None


def checks(case: Case, rules: Sequence[Rule]) -> Iterator[Check]:
    """Yields the checks of one example: the rules of its kind; slow rules only for a component's first example."""
    for rule in rules:
        if case.kind in rule.kinds and not (rule.dear and case.number):
            yield Check(case=case, rule=rule)


def keep(case: Case, rules: Sequence[Rule]) -> None:
    """Raises `BrokenRule` for the first rule of its kind that an example breaks."""
    for check in checks(case, rules):
        verdict = check.judge()
        if verdict.broken is not None:
            raise verdict.broken


def _place(error: BaseException) -> str:
    """The file and line where foreign code raised an error: the innermost frame outside of this package, if any."""
    own = f"{os.sep}didact_kit{os.sep}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if own not in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "in the check itself"


def _skip(reason: str) -> None:
    if (pytest := sys.modules.get("pytest")) is not None:  # checks also work without pytest
        pytest.skip(reason)
