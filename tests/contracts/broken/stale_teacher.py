"""A teacher whose running statistics stay those of the first step.

breaks: buffers
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyTeacher
from didact_kit.tiny_method import TinyTeacherModule


@attrs.frozen(kw_only=True)
class StaleTeacher(TinyTeacher):
    """Averages parameters alone."""

    def build(self, network):
        return StaleModule(network, self.decay)


class StaleModule(TinyTeacherModule):
    @torch.no_grad()
    def after_step(self, network, step, steps):
        for mine, its in zip(self.network.parameters(), network.parameters(), strict=True):
            mine.lerp_(its, 1 - self.decay)
        return {}


@hookimpl
def didact_components():
    return {"it": StaleTeacher}


def examples(folder):
    return {"it": [Example(spec=StaleTeacher())]}


@hookimpl
def didact_examples():
    return examples
