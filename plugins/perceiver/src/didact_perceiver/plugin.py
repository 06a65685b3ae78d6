"""What didact-perceiver registers."""

from didact import Backbone, FeatureEncoder, Masker, Spec, hookimpl
from didact_perceiver.arrays import Arrays
from didact_perceiver.masking import CellMasker
from didact_perceiver.perceiver import PerceiverIO
from didact_perceiver.positions import FourierPositions


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
