"""didact: self-supervised learning by self-distillation.

A student network that sees a masked input learns to predict what a teacher computes from the whole input. A method is
five answers (`FeatureEncoder`, `Masker`, `Backbone`, `TargetBuilder`, `Objective`), an `Experiment` composes them, and
plugins provide them.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
