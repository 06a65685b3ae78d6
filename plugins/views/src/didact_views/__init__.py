"""Methods that compare views, for didact: BYOL, SimSiam, VICReg and DINO as choices of the same parts."""

from didact_views.augmentation import DistortedViews, ViewRecipe
from didact_views.normalization import BatchNorm
from didact_views.pixels import Pixels
from didact_views.prediction import CosinePrediction
from didact_views.projection import MLP, Projected, Projector, ProjectorModule, PrototypeHead
from didact_views.prototypes import PrototypeCrossEntropy, PrototypeTargets
from didact_views.summaries import StudentSummaries, TeacherSummaries
from didact_views.timm_models import TimmModel
from didact_views.vicreg import VICReg

__all__ = [
    "MLP",
    "BatchNorm",
    "CosinePrediction",
    "DistortedViews",
    "Pixels",
    "Projected",
    "Projector",
    "ProjectorModule",
    "PrototypeCrossEntropy",
    "PrototypeHead",
    "PrototypeTargets",
    "StudentSummaries",
    "TeacherSummaries",
    "TimmModel",
    "VICReg",
    "ViewRecipe",
]
