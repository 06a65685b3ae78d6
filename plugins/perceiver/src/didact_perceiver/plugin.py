"""What didact-perceiver registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact import Backbone, FeatureEncoder, Masker, Spec, hookimpl
from didact_perceiver.arrays import Arrays
from didact_perceiver.masking import CellMasker
from didact_perceiver.perceiver import PerceiverIO
from didact_perceiver.positions import FourierPositions

if TYPE_CHECKING:
    from didact.testing import Example


@hookimpl
def didact_feature_encoders() -> dict[str, type[FeatureEncoder]]:
    return {"arrays": Arrays}


@hookimpl
def didact_maskers() -> dict[str, type[Masker]]:
    return {"cells": CellMasker}


@hookimpl
def didact_backbones() -> dict[str, type[Backbone]]:
    return {"perceiver-io": PerceiverIO}


@hookimpl
def didact_parts() -> dict[str, type[Spec]]:
    return {"fourier-positions": FourierPositions}


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_perceiver.examples import EXAMPLES

    return EXAMPLES
