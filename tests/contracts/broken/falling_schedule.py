"""A schedule that falls below zero before the end.

breaks: factors
"""

from __future__ import annotations

import attrs

from didact import Schedule, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class FallingSchedule(Schedule):
    """A linear fall that is too steep."""

    def at(self, step, steps):
        return 1.0 - 1.02 * step / steps


@hookimpl
def didact_components():
    return {"it": FallingSchedule}


def examples(folder):
    return {"it": [Example(spec=FallingSchedule())]}


@hookimpl
def didact_examples():
    return examples
