"""Small instances of the components of didact-views, for the contract's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from didact_kit import (
    Example,
    NoiseSource,
    TinyBackbone,
    TinyEncoder,
    TinySource,
    TinyTargets,
    TinyTeacher,
    TinyWords,
)
from didact_stores import Record, write_store
from didact_views.augmentation import MultiViewAugmentation, ViewRecipe
from didact_views.captions import CaptionedImages
from didact_views.contrast import InfoNCE
from didact_views.pixels import Pixels
from didact_views.prediction import NegativeCosineSimilarity
from didact_views.projection import MLP, Projected, PrototypeHead
from didact_views.projections import StudentProjections, TeacherProjections
from didact_views.prototypes import PrototypeCrossEntropy, PrototypeTargets
from didact_views.sigreg import SIGReg
from didact_views.sinkhorn import SinkhornTargets
from didact_views.timm_models import TimmModel
from didact_views.vicreg import VICReg
from didact_views.zero_shot import ZeroShot
from didact_vision import ImageMedium, Images

three = TinySource(uneven=True, views=3)
image = NoiseSource(kind="image", axes=(3, 32, 48))
mlp = MLP(hidden=8, out=6, norm="none")
projected = Projected(backbone=TinyBackbone(), projector=mlp)
norms = projected.evolve(projector=mlp.evolve(norm="batch", output_norm="batch"))
few = PrototypeHead(hidden=8, bottleneck=4, prototypes=6)
prototypes = projected.evolve(projector=few)
cosine = NegativeCosineSimilarity(hidden=8, norm="none")
flow = StudentProjections(gradient="flow")
dino = PrototypeTargets(teacher=TinyTeacher(), warmup_steps=3)

# timm's models have no features to average, and vectors for a grid that is coarser than the image's
whole: dict[str, Any] = {"source": image, "encoder": Pixels(), "targets": TinyTargets(level="sample")}
views: dict[str, Any] = {"source": three, "masker": None}
even = views | {"source": TinySource(views=3)}  # Sinkhorn's targets of a sample depend on the samples beside it


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """The examples of each component, by short name. Writes the store that a source reads to ``folder``."""
    return _compared() | _paired(folder)


def _paired(folder: Path) -> dict[str, Sequence[Example]]:
    """The examples of images with captions, and of the objectives that compare them."""
    pictures = [_picture(index) for index in range(8)]
    write_store(folder / "images", ImageMedium.kind, ImageMedium.unit, pictures)
    captioned = CaptionedImages(images=Images(store=str(folder / "images"), size=8))
    pairs: dict[str, Any] = {
        "source": captioned,
        "encoder": (TinyEncoder(), TinyWords()),
        "masker": None,
        "backbone": (projected, projected),
        "targets": flow,
    }
    return {
        "info-nce": [
            Example(
                spec=InfoNCE(candidates="views", temperature=0.1),
                backbone=projected,
                targets=flow,
                learns=True,
                **views,
            ),
            Example(
                spec=InfoNCE(predictor=mlp, scale=0.4),
                backbone=projected,
                targets=TeacherProjections(teacher=TinyTeacher()),
                **views,
            ),
            Example(
                spec=InfoNCE(candidates=10),
                backbone=projected,
                targets=TeacherProjections(teacher=TinyTeacher(), symmetric=False),
                **views,
            ),
            Example(spec=InfoNCE(temperature=0.07, learn_temperature=True), learns=True, **pairs),
        ],
        "captioned-images": [
            Example(**pairs | {"spec": captioned, "files": {one.name: one.data for one in pictures[:3]}})
        ],
        "zero-shot": [Example(spec=ZeroShot(test=captioned), **pairs)],
    }


def _compared() -> dict[str, Sequence[Example]]:
    """The examples of all other components."""
    return {
        "pixels": [Example(spec=Pixels(), source=NoiseSource(kind="image", axes=(3, 6, 5)))],
        "projected": [
            Example(spec=projected, targets=flow, objective=cosine, learns=True, **views),
            Example(
                spec=projected.evolve(pooling="class"),
                encoder=TinyEncoder(class_token=True),
                targets=StudentProjections(),
                objective=cosine,
                **views,
            ),
            Example(spec=norms, targets=StudentProjections(), objective=cosine, **views),
            Example(spec=prototypes, targets=dino, objective=PrototypeCrossEntropy(), **views),
        ],
        "timm": [
            Example(spec=TimmModel(name="test_vit", normalizes_batches=False), **whole),
            Example(spec=TimmModel(name="test_resnet"), **whole),
        ],
        "teacher-projections": [
            Example(spec=TeacherProjections(teacher=TinyTeacher()), backbone=backbone, objective=cosine, **views)
            for backbone in (norms, projected)
        ],
        "student-projections": [
            Example(spec=StudentProjections(), backbone=projected, objective=cosine, sees_mask=True, **views),
            Example(spec=flow, backbone=projected, objective=VICReg(), sees_mask=True, learns=True, **views),
        ],
        "prototype-targets": [Example(spec=dino, backbone=prototypes, objective=PrototypeCrossEntropy(), **views)],
        "sinkhorn-targets": [
            Example(spec=SinkhornTargets(), backbone=prototypes, objective=PrototypeCrossEntropy(), **even)
        ],
        "negative-cosine-similarity": [
            Example(spec=predictor, backbone=projected, targets=TeacherProjections(teacher=TinyTeacher()), **views)
            for predictor in (NegativeCosineSimilarity(hidden=8), cosine)
        ],
        "sigreg": [Example(spec=SIGReg(directions=8), backbone=projected, targets=flow, learns=True, **views)],
        "vicreg": [Example(spec=VICReg(), backbone=projected, targets=flow, learns=True, **views)],
        "prototype-cross-entropy": [
            Example(spec=PrototypeCrossEntropy(), backbone=prototypes, targets=dino, **views),
            Example(spec=PrototypeCrossEntropy(), backbone=prototypes, targets=SinkhornTargets(), **even),
        ],
        "multi-view-augmentation": [
            Example(spec=MultiViewAugmentation()),
            Example(spec=MultiViewAugmentation(recipes=(ViewRecipe(size=8, scale=(0.05, 0.4)),))),
        ],
        "view-recipe": [Example(spec=ViewRecipe())],
        "mlp": [Example(spec=MLP(hidden=8, out=6)), Example(spec=MLP(layers=1, norm="none"))],
        "prototype-head": [Example(spec=few), Example(spec=few.evolve(norm="batch"))],
    }


def _picture(index: int) -> Record:
    """A binary PPM, which needs no encoder."""
    pixels = bytes((index * 16 + 5 * i * (index % 2 + 1)) % 256 for i in range(20 * 18 * 3))
    return Record(data=b"P6 20 18 255\n" + pixels, length=1.0, name=f"{index}.ppm", fields={"label": "ab"[index % 2]})
