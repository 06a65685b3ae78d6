from .running import RunResult as RunResult
from .running import resume as resume
from .running import start as start
