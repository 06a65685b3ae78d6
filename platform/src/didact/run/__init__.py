"""A run from its start to its end, wherever it was stopped between them."""

from didact.run.running import RunResult, amend, close, create, resume, start

__all__ = ["RunResult", "amend", "close", "create", "resume", "start"]
