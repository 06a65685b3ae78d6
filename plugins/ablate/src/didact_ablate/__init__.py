"""Ablation studies for didact: experiments that differ in one choice, and their comparison."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
