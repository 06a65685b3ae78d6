"""What didact-vision registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact import FeatureEncoder, Masker, Medium, Source, Spec, hookimpl
from didact_vision.augmentation import BEiTAugmentation, RandomCrop
from didact_vision.images import Images
from didact_vision.masking import BlockMasker, InverseBlockMasker, RandomMasker
from didact_vision.media import ImageMedium
from didact_vision.patches import Patches

if TYPE_CHECKING:
    from didact.testing import Example


@hookimpl
def didact_feature_encoders() -> dict[str, type[FeatureEncoder]]:
    return {"patches": Patches}


@hookimpl
def didact_maskers() -> dict[str, type[Masker]]:
    return {"random": RandomMasker, "block": BlockMasker, "inverse-block": InverseBlockMasker}


@hookimpl
def didact_sources() -> dict[str, type[Source]]:
    return {"images": Images}


@hookimpl
def didact_parts() -> dict[str, type[Spec]]:
    return {"random-crop": RandomCrop, "beit-augmentation": BEiTAugmentation}


@hookimpl
def didact_media() -> dict[str, type[Medium]]:
    return {"images": ImageMedium}


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_vision.examples import examples

    return examples(folder)
