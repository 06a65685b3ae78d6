"""A schedule that falls each time it is asked: a resumed run starts again at the peak.

breaks: factors
"""

from __future__ import annotations

import itertools

import attrs

from didact import Schedule, hookimpl
from didact_kit import Example

CALLS = itertools.count()


@attrs.frozen(kw_only=True)
class RememberingSchedule(Schedule):
    """A fall by one thousandth for each call."""

    def at(self, step, steps):
        return 0.999 ** next(CALLS)


@hookimpl
def didact_components():
    return {"it": RememberingSchedule}


def examples(folder):
    return {"it": [Example(spec=RememberingSchedule())]}


@hookimpl
def didact_examples():
    return examples
