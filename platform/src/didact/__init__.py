"""didact: self-supervised learning by self-distillation.

A student network sees a masked input and learns to predict what a teacher computes from the whole input. A method has
five parts (`FeatureEncoder`, `Masker`, `Backbone`, `TargetBuilder`, `Objective`). An `Experiment` combines the parts,
and plugins provide them.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
