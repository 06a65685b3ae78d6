from .classification import Classification as Classification
from .labels import Labels as Labels
