"""An observer that freezes the encoder of the learner that it is shown.

breaks: untouched
"""

from __future__ import annotations

import attrs

from didact import Observer, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class FreezingObserver(Observer):
    """Freezes the encoder."""

    def build(self):
        return Freezing()


class Freezing:
    @hookimpl
    def run_prepared(self, learner):
        learner.network.encoder.requires_grad_(False)
        return ()


@hookimpl
def didact_components():
    return {"it": FreezingObserver}


def examples(folder):
    return {"it": [Example(spec=FreezingObserver())]}


@hookimpl
def didact_examples():
    return examples
