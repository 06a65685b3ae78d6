"""A teacher that moves the student towards itself, not itself towards the student.

breaks: inputs
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyTeacher
from didact_kit.tiny_method import TinyTeacherModule


@attrs.frozen(kw_only=True)
class PullingTeacher(TinyTeacher):
    """A moving average, the wrong way round."""

    def build(self, network):
        return PullingModule(network, self.decay)


class PullingModule(TinyTeacherModule):
    @torch.no_grad()
    def after_step(self, network, step, steps):
        for mine, its in zip(self.network.parameters(), network.parameters(), strict=True):
            its.lerp_(mine, 1 - self.decay)
        return {}


@hookimpl
def didact_components():
    return {"it": PullingTeacher}


def examples(folder):
    return {"it": [Example(spec=PullingTeacher())]}


@hookimpl
def didact_examples():
    return examples
