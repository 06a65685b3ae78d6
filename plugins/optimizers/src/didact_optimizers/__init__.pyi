from .lars import LARS as LARS
from .muon import Muon as Muon
from .sgd import SGD as SGD
