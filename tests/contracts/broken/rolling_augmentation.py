"""An augmentation that draws from PyTorch's global generator.

breaks: determinism
"""

from __future__ import annotations

import attrs
import torch

from didact import hookimpl
from didact_kit import Example
from didact_vision import Augmentation
from didact_vision.augmentation import resize


@attrs.frozen(kw_only=True)
class RollingAugmentation(Augmentation):
    """A random shift."""

    def views(self, sample, size, *, generator):
        return (resize(sample, size, "bilinear").roll(int(torch.randint(size, ())), -1),)


@hookimpl
def didact_components():
    return {"it": RollingAugmentation}


def examples(folder):
    return {"it": [Example(spec=RollingAugmentation())]}


@hookimpl
def didact_examples():
    return examples
