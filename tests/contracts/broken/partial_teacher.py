"""A teacher whose encoder stays the one of the first step, while its backbone follows.

breaks: buffers
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyTeacher
from didact_kit.tiny_method import TinyTeacherModule


@attrs.frozen(kw_only=True)
class PartialTeacher(TinyTeacher):
    """A moving average."""

    def build(self, network):
        return Module(network, self.decay)


class Module(TinyTeacherModule):
    @torch.no_grad()
    def after_step(self, network, step, steps):
        for mine, its in zip(self.network.backbone.parameters(), network.backbone.parameters(), strict=True):
            mine.lerp_(its, 1 - self.decay)
        for mine, its in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(its)
        return {}


@hookimpl
def didact_components():
    return {"it": PartialTeacher}


def examples(folder):
    return {"it": [Example(spec=PartialTeacher())]}


@hookimpl
def didact_examples():
    return examples
