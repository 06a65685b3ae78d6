"""A teacher that takes a gradient.

breaks: gradients
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTeacher
from didact_kit.tiny_method import TinyTeacherModule


@attrs.frozen(kw_only=True)
class LearningTeacher(TinyTeacher):
    """Forgets to freeze its copy."""

    def build(self, network):
        return LearningModule(network, self.decay)


class LearningModule(TinyTeacherModule):
    def __init__(self, network, decay):
        super().__init__(network, decay)
        self.network.requires_grad_(True)


@hookimpl
def didact_components():
    return {"it": LearningTeacher}


def examples(folder):
    return {"it": [Example(spec=LearningTeacher())]}


@hookimpl
def didact_examples():
    return examples
