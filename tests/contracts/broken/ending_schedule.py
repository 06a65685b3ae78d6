"""A schedule that ends in NaN: it divides zero by zero at the last step of a short run.

breaks: factors
"""

from __future__ import annotations

import attrs
import torch

from didact import Schedule, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class EndingSchedule(Schedule):
    """A linear fall."""

    def at(self, step, steps):
        return float(torch.tensor(steps - 1.0 - step) / torch.tensor(steps - 1.0))


@hookimpl
def didact_components():
    return {"it": EndingSchedule}


def examples(folder):
    return {"it": [Example(spec=EndingSchedule())]}


@hookimpl
def didact_examples():
    return examples
