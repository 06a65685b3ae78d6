"""A run's folder: what is written into it, and how it is read back."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
