"""What will not do, said before the first step."""

from didact.doctor.examination import admit, diagnose

__all__ = ["admit", "diagnose"]
