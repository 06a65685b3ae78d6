"""The plugin of didact-vision."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_feature_encoders() -> Mapping[str, str]:
    return {
        "patches": "didact_vision.patches:Patches",
    }


@hookimpl
def didact_maskers() -> Mapping[str, str]:
    return {
        "random": "didact_vision.masking:RandomMasker",
        "block": "didact_vision.masking:BlockMasker",
        "multi-block": "didact_vision.masking:MultiBlockMasker",
        "inverse-block": "didact_vision.masking:InverseBlockMasker",
    }


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "stored-images": "didact_vision.images:Images",
        "images": "didact_vision.media:ImageMedium",  # named after `didact ingest images`
        "random-crop": "didact_vision.augmentation:RandomCrop",
        "beit-augmentation": "didact_vision.augmentation:BEiTAugmentation",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_vision.examples:examples"
