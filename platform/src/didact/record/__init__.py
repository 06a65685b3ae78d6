"""A run's folder: what is written into it, and how it is read back."""

from didact.record.reading import Cost, RunRecord, find_runs

__all__ = ["Cost", "RunRecord", "find_runs"]
