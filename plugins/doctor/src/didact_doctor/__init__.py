"""Checks experiments before training, measures speed, explains failed steps, and proves that runs resume exactly."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
