from .folder import RunFolder as RunFolder
from .reading import RunRecord as RunRecord
