"""A teacher that follows the student at every fifth of its own updates.

breaks: checkpoint
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTeacher
from didact_kit.tiny_method import TinyTeacherModule


@attrs.frozen(kw_only=True)
class SeldomTeacher(TinyTeacher):
    """Counts updates outside of its state."""

    def build(self, network):
        return SeldomModule(network, self.decay)


class SeldomModule(TinyTeacherModule):
    updates = 0

    def after_step(self, network, step, steps):
        self.updates += 1
        return super().after_step(network, step, steps) if self.updates % 5 == 0 else {}


@hookimpl
def didact_components():
    return {"it": SeldomTeacher}


def examples(folder):
    return {"it": [Example(spec=SeldomTeacher())]}


@hookimpl
def didact_examples():
    return examples
