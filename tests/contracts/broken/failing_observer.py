"""An observer that fails in one of its hooks.

breaks: untouched
"""

from __future__ import annotations

import attrs

from didact import Observer, hookimpl
from didact.testing import Example


@attrs.frozen(kw_only=True)
class FailingObserver(Observer):
    """Looks for a metric that is not there."""

    def build(self):
        return Watching()


class Watching:
    @hookimpl
    def step_finished(self, step, metrics):
        metrics["no/such-metric"]


@hookimpl
def didact_observers():
    return {"it": FailingObserver}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=FailingObserver())]}
