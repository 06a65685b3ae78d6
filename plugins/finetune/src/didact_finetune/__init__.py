"""Supervised training for didact: labels as targets, and a classifying objective."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
