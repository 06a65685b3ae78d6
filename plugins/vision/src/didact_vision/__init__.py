"""Images for didact: patch encoder, maskers of patches, image sources and their augmentation."""

from didact_vision.augmentation import BEiTAugmentation, RandomCrop
from didact_vision.decoding import decode
from didact_vision.images import Images, ImageSamples
from didact_vision.masking import BlockMasker, InverseBlockMasker, RandomMasker
from didact_vision.media import ImageMedium
from didact_vision.patches import Patches, PatchesModule

__all__ = [
    "BEiTAugmentation",
    "BlockMasker",
    "ImageMedium",
    "ImageSamples",
    "Images",
    "InverseBlockMasker",
    "Patches",
    "PatchesModule",
    "RandomCrop",
    "RandomMasker",
    "decode",
]
