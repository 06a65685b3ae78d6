"""An objective whose after_step returns a count.

breaks: steps
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyObjective
from didact_kit.tiny_method import TinyObjectiveModule


@attrs.frozen(kw_only=True)
class WordyObjective(TinyObjective):
    """Logs the step."""

    def build(self, network, targets):
        return WordyModule(network.backbone.width, targets.width)


class WordyModule(TinyObjectiveModule):
    def after_step(self, network, step, steps):
        return {"step": f"{step} of {steps}"}


@hookimpl
def didact_objectives():
    return {"it": WordyObjective}


def examples(folder):
    return {"it": [Example(spec=WordyObjective())]}


@hookimpl
def didact_examples():
    return examples
