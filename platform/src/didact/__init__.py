"""didact: self-supervised learning by self-teaching.

A student network that sees a masked input learns to predict what a teacher makes of the whole input. A method is five
answers (`FeatureEncoder`, `Masker`, `Backbone`, `TargetBuilder`, `Objective`), an `Experiment` composes them, and
plugins bring them.
"""

from didact.contracts import (
    Augmentation,
    Backbone,
    BackboneModule,
    Evaluation,
    FeatureEncoder,
    FeatureEncoderModule,
    Masker,
    Medium,
    Objective,
    ObjectiveModule,
    Observer,
    Record,
    Report,
    RunInfo,
    Samples,
    Source,
    Study,
    StudyCall,
    Subject,
    TargetBuilder,
    TargetBuilderModule,
    Teacher,
    TeacherModule,
)
from didact.errors import DataError, DidactError, PluginError, RunError, SpecError
from didact.experiment import BatchSize, Experiment, Pretrained, Training, samples, seconds, tokens
from didact.experiment_file import experiment_in
from didact.hookspecs import hookimpl
from didact.learner import Learner, Network, build_learner, build_network
from didact.loading import collate
from didact.placing import corrupt, drop, prepend, repeat
from didact.preflight import Finding, Preflight, Spread
from didact.schedules import Constant, Cosine, Schedule, TriStage
from didact.sounds import Sound
from didact.spec import Spec
from didact.tensors import (
    Attention,
    Batch,
    BatchMask,
    Collect,
    Context,
    Corruption,
    Layout,
    Loss,
    Mask,
    Signal,
    StudentPass,
    Target,
    Tokens,
    View,
)
from didact.timing import span

__all__ = [
    "Attention",
    "Augmentation",
    "Backbone",
    "BackboneModule",
    "Batch",
    "BatchMask",
    "BatchSize",
    "Collect",
    "Constant",
    "Context",
    "Corruption",
    "Cosine",
    "DataError",
    "DidactError",
    "Evaluation",
    "Experiment",
    "FeatureEncoder",
    "FeatureEncoderModule",
    "Finding",
    "Layout",
    "Learner",
    "Loss",
    "Mask",
    "Masker",
    "Medium",
    "Network",
    "Objective",
    "ObjectiveModule",
    "Observer",
    "PluginError",
    "Preflight",
    "Pretrained",
    "Record",
    "Report",
    "RunError",
    "RunInfo",
    "Samples",
    "Schedule",
    "Signal",
    "Sound",
    "Source",
    "Spec",
    "SpecError",
    "Spread",
    "StudentPass",
    "Study",
    "StudyCall",
    "Subject",
    "Target",
    "TargetBuilder",
    "TargetBuilderModule",
    "Teacher",
    "TeacherModule",
    "Tokens",
    "Training",
    "TriStage",
    "View",
    "build_learner",
    "build_network",
    "collate",
    "corrupt",
    "drop",
    "experiment_in",
    "hookimpl",
    "prepend",
    "repeat",
    "samples",
    "seconds",
    "span",
    "tokens",
]
