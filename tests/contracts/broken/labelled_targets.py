"""Targets that read labels without asking for them.

breaks: fields
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example, TinyTargets
from didact_kit.tiny_method import TinyTargetsModule


@attrs.frozen(kw_only=True)
class LabelledTargets(TinyTargets):
    """Scaled by the label."""

    def build(self, network):
        return LabelledModule(self, network)


class LabelledModule(TinyTargetsModule):
    def forward(self, batch, passes, network):
        scale = 1.0 + batch.fields["label"].float()[:, None, None]
        return tuple(attrs.evolve(one, values=one.values * scale) for one in super().forward(batch, passes, network))


@hookimpl
def didact_target_builders():
    return {"it": LabelledTargets}


def examples(folder):
    return {"it": [Example(spec=LabelledTargets())]}


@hookimpl
def didact_examples():
    return examples
