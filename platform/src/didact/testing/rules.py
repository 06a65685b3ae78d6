"""What a rule of the contract is, and what becomes of a part that is held against one."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import attrs

from didact.errors import DidactError
from didact.testing.examples import Case


@attrs.frozen(kw_only=True, eq=False)
class Rule:
    """One promise that every part of some kinds makes.

    Attributes:
        name: of the rule, a word.
        kinds: of parts that it binds; see `didact.plugins.KIND_NAMES`.
        promise: what is promised, in a sentence.
        mend: how it is usually kept where it was broken.
        look: raises `AssertionError` with what was seen, or `NotJudged`.
        dear: whether it costs seconds, so that only the first example of a component is held against it.
    """

    name: str
    kinds: tuple[str, ...]
    promise: str
    mend: str
    look: Callable[[Case], None]
    dear: bool = False


class NotJudged(Exception):  # noqa: N818 - it is no error
    """The rule has nothing to say of this part; the message says why."""


class BrokenRule(AssertionError):  # noqa: N818 - an error by its base, a verdict by its name
    """A part breaks a rule.

    Attributes:
        rule: the one.
        component: its registered name, or its class.
        distribution: that brings it, with its version.
        seen: what was seen.
    """

    def __init__(self, rule: Rule, case: Case, seen: str) -> None:
        self.rule, self.component, self.distribution, self.seen = rule, case.name, case.distribution, seen
        places = [place for place in (case.distribution, case.place) if place]
        lines = [
            f"{case.name} breaks the rule {rule.name!r}: {rule.promise}",
            f"  seen:  {seen}",
            f"  where: {', '.join(places) or 'unknown'}",
            f"  mend:  {rule.mend}",
        ]
        super().__init__("\n".join(lines))


@attrs.frozen(kw_only=True, eq=False)
class Check:
    """One example held against one rule; calling it does so.

    Attributes:
        case: the example.
        rule: the rule.
    """

    case: Case
    rule: Rule

    def __str__(self) -> str:
        number = f"-{self.case.number}" if self.case.number else ""
        return f"{self.case.name}{number}: {self.rule.name}"

    def __call__(self) -> None:
        """Holds the example against the rule; under pytest a rule that has nothing to say skips.

        Raises:
            BrokenRule: with what was seen and how to mend it.
        """
        verdict = self.judge()
        if verdict.broken is not None:
            raise verdict.broken
        if verdict.outcome == "not judged":
            _skip(verdict.says)

    def judge(self) -> Verdict:
        """Holds the example against the rule; whatever it raises is its verdict."""
        try:
            self.rule.look(self.case)
        except NotJudged as reason:
            return Verdict(check=self, outcome="not judged", says=str(reason))
        except AssertionError as error:
            broken = BrokenRule(self.rule, self.case, str(error) or f"an assertion failed at {_place(error)}")
        except DidactError as error:
            broken = BrokenRule(self.rule, self.case, " · ".join(filter(None, (error.what, error.where, error.mend))))
        except Exception as error:  # foreign code
            broken = BrokenRule(self.rule, self.case, f"{type(error).__name__}: {error} ({_place(error)})")
            broken.__cause__ = error
        else:
            return Verdict(check=self, outcome="kept")
        return Verdict(check=self, outcome="broken", says=broken.seen, broken=broken)


@attrs.frozen(kw_only=True, eq=False)
class Verdict:
    """What became of a check.

    Attributes:
        check: the one.
        outcome: ``kept``, ``broken`` or ``not judged``.
        says: what was seen, or why nothing was judged.
        broken: the error, where the rule is broken.
    """

    check: Check
    outcome: Literal["kept", "broken", "not judged"]
    says: str = ""
    broken: BrokenRule | None = None


def checks(case: Case, rules: Sequence[Rule]) -> Iterator[Check]:
    """The checks of one example: those of its kind, the dear ones for a component's first example alone."""
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
    """File and line where foreign code raised: the innermost frame outside of didact's own checks, if there is one."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/didact/testing/" not in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "in the check itself"


def _skip(reason: str) -> None:
    import sys

    if (pytest := sys.modules.get("pytest")) is not None:  # a check serves without it
        pytest.skip(reason)
