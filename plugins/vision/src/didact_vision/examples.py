"""Small instances of the components of didact-vision, for the contract's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from didact import Layout
from didact_kit import Example, NoiseSource, TinyMasker
from didact_stores import Record
from didact_stores.ingest import write_store
from didact_vision.augmentation import BEiTAugmentation, RandomCrop
from didact_vision.images import Images
from didact_vision.masking import BlockMasker, InverseBlockMasker, MultiBlockMasker, RandomMasker
from didact_vision.media import ImageMedium
from didact_vision.patches import Patches

noise = NoiseSource(kind="image", axes=(3, 16, 16))
grids = [Layout((8, 8)), Layout((14, 14))]
small = Patches(width=16, patch=4)


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """The examples of each component, by short name. Writes the store that the source reads to ``folder``."""
    pictures = [_picture(index) for index in range(12)]
    write_store(folder / "images", ImageMedium.kind, ImageMedium.unit, pictures)
    images = Images(store=str(folder / "images"), size=16)
    return {
        "patches": [
            Example(spec=small, source=noise, masker=TinyMasker(masks=2, corruption="drop")),
            Example(spec=small.evolve(positions="learned", mask_token=True, class_token=False), source=noise),
            Example(spec=small.evolve(positions="none", mask_token=True, initialization="beit"), source=noise),
        ],
        "random": [Example(spec=RandomMasker(masks=2)), Example(spec=RandomMasker(ratio=0.5, corruption="hide"))],
        "block": [Example(spec=BlockMasker(), layouts=grids), Example(spec=BlockMasker(min_area=4), layouts=grids)],
        "multi-block": [
            Example(spec=MultiBlockMasker(equalize_counts=equal), layouts=grids, hides_more=True)
            for equal in (False, True)
        ],
        "inverse-block": [Example(spec=InverseBlockMasker(masks=3), layouts=[*grids, Layout((6, 9))])],
        "stored-images": [
            Example(spec=images, files={picture.name: picture.data for picture in pictures[:3]}),
            Example(spec=images.evolve(views=2, augmentation=BEiTAugmentation())),
        ],
        "images": [
            Example(
                spec=ImageMedium(),
                good={picture.name: picture.data for picture in pictures[:3]},
                bad={"noise.png": b"\x89PNG\r\n\x1a\n" + b"noise" * 20, "empty.jpg": b""},
            ),
        ],
        "random-crop": [Example(spec=RandomCrop())],
        "beit-augmentation": [Example(spec=BEiTAugmentation())],
    }


def _picture(index: int) -> Record:
    """A binary PPM, which needs no encoder."""
    pixels = bytes((index * 16 + 5 * i * (index % 2 + 1)) % 256 for i in range(20 * 18 * 3))
    return Record(data=b"P6 20 18 255\n" + pixels, length=1.0, name=f"{index}.ppm", fields={"label": "ab"[index % 2]})
