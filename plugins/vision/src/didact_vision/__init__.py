"""Images for didact: patch encoder, maskers of patches, image sources and their augmentation."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
