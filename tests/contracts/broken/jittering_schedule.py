"""A schedule with noise that differs from call to call.

breaks: factors
"""

from __future__ import annotations

import random

import attrs

from didact import Schedule, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class JitteringSchedule(Schedule):
    """A constant rate with noise."""

    def at(self, step, steps):
        return 1.0 - 0.1 * random.random()


@hookimpl
def didact_components():
    return {"it": JitteringSchedule}


def examples(folder):
    return {"it": [Example(spec=JitteringSchedule())]}


@hookimpl
def didact_examples():
    return examples
