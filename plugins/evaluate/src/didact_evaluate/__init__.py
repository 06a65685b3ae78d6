"""Evaluation of representations for didact: probes with controls, collapse metrics and visualizations."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
