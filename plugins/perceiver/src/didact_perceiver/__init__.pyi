from .arrays import Arrays as Arrays
from .masking import RandomMasker as RandomMasker
from .perceiver import PerceiverIO as PerceiverIO
from .positions import FourierPositions as FourierPositions
