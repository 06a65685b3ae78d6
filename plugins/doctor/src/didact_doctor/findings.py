"""Findings from errors, findings relative to the whole experiment, and findings as text."""

from __future__ import annotations

import attrs
import numpy as np

from didact import DidactError
from didact.errors import inside
from didact.preflight import Finding


def finding_of(error: DidactError) -> Finding:
    """Converts an error to a finding."""
    return Finding(severity="error", says=error.what, where=error.where, hint=error.hint)


def inside_field(field: str, finding: Finding) -> Finding:
    """Prefixes the finding's field with the field of the enclosing spec: ``end`` becomes ``targets.teacher.end``."""
    return attrs.evolve(finding, where=inside(field, finding.where))


def describe(finding: Finding) -> str:
    """Formats a finding as text, with the hint on its own line."""
    about = f"{finding.where}: {finding.says}" if finding.where else finding.says
    return f"{about}\n         hint: {finding.hint}" if finding.hint else about


def describe_spread(values: np.ndarray) -> str:
    """Formats the range and the median of some values (N,); only the value if it does not vary."""
    smallest, median, largest = (_number(value) for value in np.quantile(values, (0.0, 0.5, 1.0)).tolist())
    return smallest if values.min() == values.max() else f"{smallest} to {largest} (median {median})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:.3g}"
