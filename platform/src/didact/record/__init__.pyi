from .folder import RunFolder as RunFolder
from .reading import RunRecord as RunRecord
from .reading import find_runs as find_runs
