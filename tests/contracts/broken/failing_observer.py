"""An observer that fails in one of its hooks.

breaks: untouched
"""

from __future__ import annotations

import attrs

from didact import Observer, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class FailingObserver(Observer):
    """Reads a metric that does not exist."""

    def build(self):
        return Watching()


class Watching:
    @hookimpl
    def step_finished(self, step, metrics):
        metrics["no/such-metric"]


@hookimpl
def didact_components():
    return {"it": FailingObserver}


def examples(folder):
    return {"it": [Example(spec=FailingObserver())]}


@hookimpl
def didact_examples():
    return examples
