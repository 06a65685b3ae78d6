"""A teacher that counts its steps outside of its state.

breaks: checkpoint
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTeacher
from didact_kit.tiny_method import TinyTeacherModule


@attrs.frozen(kw_only=True)
class ForgetfulTeacher(TinyTeacher):
    """Follows more slowly with every step."""

    def build(self, network):
        return ForgetfulModule(network, self.decay)


class ForgetfulModule(TinyTeacherModule):
    steps = 0

    def after_step(self, network, step, steps):
        self.steps += 1
        self.decay = 1 - 0.1 / self.steps
        return super().after_step(network, step, steps)


@hookimpl
def didact_components():
    return {"it": ForgetfulTeacher}


def examples(folder):
    return {"it": [Example(spec=ForgetfulTeacher())]}


@hookimpl
def didact_examples():
    return examples
