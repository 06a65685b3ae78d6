"""Perceiver IO for didact, and an encoder of any array: one experiment for images, speech and text."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
