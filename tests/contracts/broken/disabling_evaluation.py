"""An evaluation that switches gradients off, and does not switch them on again.

breaks: untouched
"""

from __future__ import annotations

import attrs
import torch

from didact import Evaluation, Report, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class DisablingEvaluation(Evaluation):
    """The mean of the weights."""

    def evaluate(self, state):
        torch.set_grad_enabled(False)
        return Report(metrics={"mean": float(sum(p.sum() for p in state.student().parameters()))})


@hookimpl
def didact_components():
    return {"it": DisablingEvaluation}


def examples(folder):
    return {"it": [Example(spec=DisablingEvaluation())]}


@hookimpl
def didact_examples():
    return examples
