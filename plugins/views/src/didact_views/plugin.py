"""The plugin of didact-views: its registrations."""

from __future__ import annotations

from collections.abc import Mapping

from didact.hookspecs import hookimpl


@hookimpl
def didact_feature_encoders() -> Mapping[str, str]:
    return {
        "pixels": "didact_views.pixels:Pixels",
    }


@hookimpl
def didact_backbones() -> Mapping[str, str]:
    return {
        "projected": "didact_views.projection:Projected",
        "timm": "didact_views.timm_models:TimmModel",
    }


@hookimpl
def didact_target_builders() -> Mapping[str, str]:
    return {
        "teacher-projections": "didact_views.projections:TeacherProjections",
        "student-projections": "didact_views.projections:StudentProjections",
        "prototype-targets": "didact_views.prototypes:PrototypeTargets",
        "sinkhorn-targets": "didact_views.sinkhorn:SinkhornTargets",
    }


@hookimpl
def didact_objectives() -> Mapping[str, str]:
    return {
        "negative-cosine-similarity": "didact_views.prediction:NegativeCosineSimilarity",
        "info-nce": "didact_views.contrast:InfoNCE",
        "sigreg": "didact_views.sigreg:SIGReg",
        "vicreg": "didact_views.vicreg:VICReg",
        "prototype-cross-entropy": "didact_views.prototypes:PrototypeCrossEntropy",
    }


@hookimpl
def didact_components() -> Mapping[str, str]:
    return {
        "multi-view-augmentation": "didact_views.augmentation:MultiViewAugmentation",
        "view-recipe": "didact_views.augmentation:ViewRecipe",
        "mlp": "didact_views.projection:MLP",
        "prototype-head": "didact_views.projection:PrototypeHead",
        "captioned-images": "didact_views.captions:CaptionedImages",
        "zero-shot": "didact_views.zero_shot:ZeroShot",
    }


@hookimpl
def didact_examples() -> str:
    return "didact_views.examples:examples"
