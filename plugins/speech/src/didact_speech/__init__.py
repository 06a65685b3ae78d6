"""Speech for didact: learned and fixed encoders of waveforms, span masks, and audio from a store."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
