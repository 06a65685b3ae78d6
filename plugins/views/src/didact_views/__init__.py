"""Methods that compare views, for didact: BYOL, SimSiam, VICReg and DINO as choices of the same parts."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
