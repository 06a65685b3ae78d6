"""A teacher that fails where the student has an integer buffer.

breaks: buffers
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyTeacher
from didact_kit.tiny_method import TinyTeacherModule


@attrs.frozen(kw_only=True)
class LerpingTeacher(TinyTeacher):
    """Averages everything that a checkpoint holds."""

    def build(self, network):
        return LerpingModule(network, self.decay)


class LerpingModule(TinyTeacherModule):
    @torch.no_grad()
    def after_step(self, network, step, steps):
        for mine, its in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            mine.lerp_(its, 1 - self.decay)
        return {}


@hookimpl
def didact_components():
    return {"it": LerpingTeacher}


def examples(folder):
    return {"it": [Example(spec=LerpingTeacher())]}


@hookimpl
def didact_examples():
    return examples
