"""Findings from errors, as seen from the whole experiment, and in words."""

from __future__ import annotations

import attrs

from didact import DidactError
from didact.errors import inside
from didact.preflight import Finding, Spread


def finding_of(error: DidactError) -> Finding:
    """An error as a finding."""
    return Finding(severity="error", says=error.what, where=error.where, hint=error.hint)


def inside_field(field: str, finding: Finding) -> Finding:
    """The same finding, seen from where ``field`` is a field: ``end`` becomes ``targets.teacher.end``."""
    return attrs.evolve(finding, where=inside(field, finding.where))


def describe(finding: Finding) -> str:
    """A finding as text, with its hint on a line of its own."""
    about = f"{finding.where}: {finding.says}" if finding.where else finding.says
    return f"{about}\n         hint: {finding.hint}" if finding.hint else about


def describe_spread(spread: Spread) -> str:
    """The range and the median of a number; the number alone where it does not vary."""
    if spread.smallest == spread.largest:
        return _number(spread.median)
    return f"{_number(spread.smallest)} to {_number(spread.largest)} (median {_number(spread.median)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:.3g}"
