"""The contracts: what each part promises to the others. A method's own stand in `didact.contracts.method`."""

from didact.contracts.data import Augmentation, Medium, Record, Samples, Source
from didact.contracts.method import (
    Backbone,
    BackboneModule,
    FeatureEncoder,
    FeatureEncoderModule,
    Masker,
    Objective,
    ObjectiveModule,
    TargetBuilder,
    TargetBuilderModule,
    Teacher,
    TeacherModule,
)
from didact.contracts.running import Evaluation, Observer, Report, RunInfo, Study, StudyCall, Subject

__all__ = [
    "Augmentation",
    "Backbone",
    "BackboneModule",
    "Evaluation",
    "FeatureEncoder",
    "FeatureEncoderModule",
    "Masker",
    "Medium",
    "Objective",
    "ObjectiveModule",
    "Observer",
    "Record",
    "Report",
    "RunInfo",
    "Samples",
    "Source",
    "Study",
    "StudyCall",
    "Subject",
    "TargetBuilder",
    "TargetBuilderModule",
    "Teacher",
    "TeacherModule",
]
