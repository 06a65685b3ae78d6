"""Methods that compare views, for didact: BYOL, SimSiam, VICReg, DINO, SimCLR, MoCo, SwAV, LeJEPA and CLIP."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
