"""Optimizers for didact beside AdamW: SGD with momentum, LARS for large batches, and Muon."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
