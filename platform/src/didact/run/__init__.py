"""A run from its start to its end, wherever it was stopped between them."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
