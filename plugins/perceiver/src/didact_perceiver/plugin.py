"""The plugin of didact-perceiver: its registrations."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_feature_encoders() -> Mapping[str, str]:
    return {
        "arrays": "didact_perceiver.arrays:Arrays",
    }


@hookimpl
def didact_maskers() -> Mapping[str, str]:
    return {
        "random": "didact_perceiver.masking:RandomMasker",
    }


@hookimpl
def didact_backbones() -> Mapping[str, str]:
    return {
        "perceiver-io": "didact_perceiver.perceiver:PerceiverIO",
    }


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "fourier-positions": "didact_perceiver.positions:FourierPositions",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_perceiver.examples:examples"
