"""A teacher that counts its steps where no checkpoint looks.

breaks: checkpoint
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact.testing import Example, TinyTeacher
from didact.testing.tiny_method import TinyTeacherModule


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
def didact_teachers():
    return {"it": ForgetfulTeacher}


@hookimpl
def didact_examples(folder):
    return {"it": [Example(spec=ForgetfulTeacher())]}
