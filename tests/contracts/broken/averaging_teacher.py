"""A teacher that averages integer buffers.

breaks: buffers
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example, TinyTeacher
from didact_kit.tiny_method import TinyTeacherModule


@attrs.frozen(kw_only=True)
class AveragingTeacher(TinyTeacher):
    """Averages everything that a checkpoint holds."""

    def build(self, network):
        return AveragingModule(network, self.decay)


class AveragingModule(TinyTeacherModule):
    @torch.no_grad()
    def after_step(self, network, step, steps):
        for mine, its in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            mine.copy_(self.decay * mine + (1 - self.decay) * its)
        return {}


@hookimpl
def didact_components():
    return {"it": AveragingTeacher}


def examples(folder):
    return {"it": [Example(spec=AveragingTeacher())]}


@hookimpl
def didact_examples():
    return examples
