"""Methods that predict what is masked, for didact: BERT, MAE, BEiT, wav2vec 2.0 and HuBERT."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
