"""An evaluation that changes what it judges.

breaks: untouched
"""

from __future__ import annotations

import attrs
import torch

from didact import Evaluation, Report, hookimpl
from didact.testing import Example


@attrs.frozen(kw_only=True)
class MeddlingEvaluation(Evaluation):
    """The largest weight, clamped."""

    @torch.no_grad()
    def evaluate(self, subject):
        for parameter in subject.student().parameters():
            parameter.clamp_(-0.05, 0.05)
        return Report(metrics={"largest": 0.05})


@hookimpl
def didact_evaluations():
    return {"it": MeddlingEvaluation}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=MeddlingEvaluation())]}
