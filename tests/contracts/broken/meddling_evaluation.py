"""An evaluation that changes the network.

breaks: untouched
"""

from __future__ import annotations

import attrs
import torch

from didact import Evaluation, Report, hookimpl
from didact_kit import Example


@attrs.frozen(kw_only=True)
class MeddlingEvaluation(Evaluation):
    """The largest weight, clamped."""

    @torch.no_grad()
    def evaluate(self, state):
        for parameter in state.student().parameters():
            parameter.clamp_(-0.05, 0.05)
        return Report(metrics={"largest": 0.05})


@hookimpl
def didact_components():
    return {"it": MeddlingEvaluation}


def examples(folder):
    return {"it": [Example(spec=MeddlingEvaluation())]}


@hookimpl
def didact_examples():
    return examples
