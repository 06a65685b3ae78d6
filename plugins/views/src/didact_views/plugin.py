"""What didact-views registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact import Backbone, FeatureEncoder, Objective, Spec, TargetBuilder, hookimpl
from didact_views.augmentation import DistortedViews, ViewRecipe
from didact_views.pixels import Pixels
from didact_views.prediction import CosinePrediction
from didact_views.projection import MLP, Projected, PrototypeHead
from didact_views.prototypes import PrototypeCrossEntropy, PrototypeTargets
from didact_views.summaries import StudentSummaries, TeacherSummaries
from didact_views.timm_models import TimmModel
from didact_views.vicreg import VICReg

if TYPE_CHECKING:
    from didact.testing import Example


@hookimpl
def didact_feature_encoders() -> dict[str, type[FeatureEncoder]]:
    return {"pixels": Pixels}


@hookimpl
def didact_backbones() -> dict[str, type[Backbone]]:
    return {"projected": Projected, "timm": TimmModel}


@hookimpl
def didact_target_builders() -> dict[str, type[TargetBuilder]]:
    return {
        "teacher-summaries": TeacherSummaries,
        "student-summaries": StudentSummaries,
        "prototype-targets": PrototypeTargets,
    }


@hookimpl
def didact_objectives() -> dict[str, type[Objective]]:
    return {
        "cosine-prediction": CosinePrediction,
        "vicreg": VICReg,
        "prototype-cross-entropy": PrototypeCrossEntropy,
    }


@hookimpl
def didact_parts() -> dict[str, type[Spec]]:
    return {
        "distorted-views": DistortedViews,
        "view-recipe": ViewRecipe,
        "mlp": MLP,
        "prototype-head": PrototypeHead,
    }


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact_views.examples import EXAMPLES

    return EXAMPLES
