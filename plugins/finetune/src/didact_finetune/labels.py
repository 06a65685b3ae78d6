"""Labels as targets: the class of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from didact import Batch, Field, Network, StudentPass, Target, TargetBuilder, TargetBuilderModule


@attrs.frozen(kw_only=True)
class Labels(TargetBuilder):
    """The class of each sample, read from a field beside its content.

    Every view that the student encodes must predict it. A sample without a label has no target.

    Attributes:
        classes: the names of the classes, in the order of the source's (`Samples.classes`).
        field: the name of the field.
    """

    classes: tuple[str, ...]
    field: str = "label"

    def validate(self) -> None:
        self.require(len(set(self.classes)) == len(self.classes) >= 2, "classes", "two or more different names")
        self.require(bool(self.field), "field", "the name of a field")

    @property
    def supports_several_signals(self) -> bool:
        return True

    def fields(self) -> Mapping[str, Field]:
        return {self.field: Field(classes=self.classes)}

    def build(self, network: Network) -> LabelsModule:
        return LabelsModule(self)


class LabelsModule(TargetBuilderModule):
    """No weights.

    Attributes:
        field: the name of the field in `Batch.fields`, (B,) int64; -1 for a sample without a label.
    """

    kind: Literal["vectors", "ids"] = "ids"
    level = "sample"

    def __init__(self, spec: Labels) -> None:
        super().__init__()
        self.width, self.field = len(spec.classes), spec.field

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """Returns the labels (B,) as the target of each view."""
        labels = batch.fields[self.field]
        return tuple(Target(view=one.index, values=labels, level="sample") for one in passes if one.encoded)
