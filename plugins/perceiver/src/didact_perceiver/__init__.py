"""Perceiver IO and an encoder for arrays of any modality, for didact: one experiment for images, speech and text."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
