"""didact in four minutes: one algorithm on images, speech and text.

The distribution contains the command ``didact quickstart`` and its data. It has no public names.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
