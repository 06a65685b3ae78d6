"""A teacher that reads its distance to the student after each step.

breaks: waits
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTeacher
from didact_kit.tiny_method import TinyTeacherModule


@attrs.frozen(kw_only=True)
class MeasuringTeacher(TinyTeacher):
    """Logs how far it is from the student."""

    def build(self, network):
        return MeasuringModule(network, self.decay)


class MeasuringModule(TinyTeacherModule):
    def after_step(self, network, step, steps):
        scalars = super().after_step(network, step, steps)
        pairs = zip(self.network.parameters(), network.parameters(), strict=True)
        return {**scalars, "teacher/distance": sum((mine - its).norm().item() for mine, its in pairs)}


@hookimpl
def didact_components():
    return {"it": MeasuringTeacher}


def examples(folder):
    return {"it": [Example(spec=MeasuringTeacher())]}


@hookimpl
def didact_examples():
    return examples
