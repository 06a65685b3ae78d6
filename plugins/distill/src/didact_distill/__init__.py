"""Self-distillation for didact: the EMA teacher, top-K averaged targets, latent regression and its heads."""

from didact_distill.ema import EMATeacher, EMATeacherModule
from didact_distill.heads import ConvDecoder, Head, HeadModule, LinearHead, MLPHead, ProjectionHead
from didact_distill.normalization import Normalization, normalize
from didact_distill.regression import LatentRegression, require_mask, require_targets
from didact_distill.targets import TopKTargets

__all__ = [
    "ConvDecoder",
    "EMATeacher",
    "EMATeacherModule",
    "Head",
    "HeadModule",
    "LatentRegression",
    "LinearHead",
    "MLPHead",
    "Normalization",
    "ProjectionHead",
    "TopKTargets",
    "normalize",
    "require_mask",
    "require_targets",
]
