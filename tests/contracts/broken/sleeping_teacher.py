"""A teacher that leaves the student in evaluation mode.

breaks: inputs
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTeacher
from didact_kit.tiny_method import TinyTeacherModule


@attrs.frozen(kw_only=True)
class SleepingTeacher(TinyTeacher):
    """Evaluates the student, too."""

    def build(self, network):
        return SleepingModule(network, self.decay)


class SleepingModule(TinyTeacherModule):
    def forward(self, student, network, hidden_states=()):
        network.eval()
        return super().forward(student, network, hidden_states)


@hookimpl
def didact_components():
    return {"it": SleepingTeacher}


def examples(folder):
    return {"it": [Example(spec=SleepingTeacher())]}


@hookimpl
def didact_examples():
    return examples
