"""An augmentation that paints on the image that it is handed.

breaks: inputs
"""

from __future__ import annotations

import attrs

from didact import hookimpl
from didact_kit import Example
from didact_vision import Augmentation
from didact_vision.augmentation import resize


@attrs.frozen(kw_only=True)
class PaintingAugmentation(Augmentation):
    """A black corner."""

    def views(self, sample, size, *, generator):
        sample[:, 0, 0] = 0
        return (resize(sample, size, "bilinear"),)


@hookimpl
def didact_components():
    return {"it": PaintingAugmentation}


def examples(folder):
    return {"it": [Example(spec=PaintingAugmentation())]}


@hookimpl
def didact_examples():
    return examples
