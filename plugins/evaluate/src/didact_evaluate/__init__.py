"""Judging representations in didact: probes against honest controls, health, pictures."""

from didact_evaluate.health import Health
from didact_evaluate.linear import LinearClassifier, fit_linear
from didact_evaluate.measures import mean_cosine, rankme, spread
from didact_evaluate.neighbours import classify_by_neighbours
from didact_evaluate.pictures import Pictures
from didact_evaluate.probe import Probe

__all__ = [
    "Health",
    "LinearClassifier",
    "Pictures",
    "Probe",
    "classify_by_neighbours",
    "fit_linear",
    "mean_cosine",
    "rankme",
    "spread",
]
